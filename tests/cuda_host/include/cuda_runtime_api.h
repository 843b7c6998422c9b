// What the kernels name of the CUDA runtime, for machines without it.
#pragma once

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidConfiguration = 9 };
using cudaStream_t = struct NoStream*;

// The language of the kernels: what a thread of a GPU can do, in plain functions. nvcc compiles
// them to intrinsics; any other compiler gets an emulation on the CPU, so that the same kernel text
// runs in ordinary tests. This is the only header that tells the two apart; kernels include it and
// nothing of CUDA.
//
// Both halves define, in torchconv::cuda:
//   thread_index, block_index, grid_size, sync_block
//   shared_memory<T>()              the block's one T; its contents are undefined at the start
//   load_vector (of constant memory), read_vector, store_vector       16 bytes, aligned
//   copy_async, commit_copies, wait_copies<N>
//   load_matrices, load_matrices_transposed      four 8x8 matrices of 16-bit elements, for mma
//   multiply_16x8x16, multiply_16x8x8_tf32      tensor cores, d += a * b
//   to_compute, from_compute, to_tf32, bits_to_float, fused, high_product
//   launch<threads>(kernel, grid, stream, arguments...)
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "conv2d.h"

namespace torchconv::cuda {

constexpr int kWarp = 32;

struct Index3 {
  int x, y, z;
};

// 16 bytes: the largest access of one thread.
template <class S>
struct alignas(16) Vector {
  static constexpr int kSize = 16 / sizeof(S);
  S at[kSize];
};

}  // namespace torchconv::cuda

#ifdef __CUDACC__
#include "cuda/device/device_cuda.h"
#else
#include "cuda_host/device_host.h"
#endif

// The ordered list of CUDA algorithms: the first that applies runs, the last one takes any shape. One
// that waits for a GPU stands behind those whose layers it computes, and runs where it is forced.
// Every choice depends on the operator and the per-image shape, dtype and layout, never on the batch
// size or the GPU, and no kernel uses atomics: same bits for any batch and from run to run.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "conv2d.h"
#include "cuda/task.h"

namespace torchconv::cuda {

struct Algorithm {
  const char* name;
  const char* source;  // the file in csrc/cuda that it is compiled in, without extension
  bool (*applicable)(Op, const Conv2dShape&);
  int64_t (*workspace_bytes)(Op, const Conv2dShape&);
  // The result has elements, and so have the operands. No synchronisation, no allocation.
  cudaError_t (*launch)(const Task&, cudaStream_t);
  // Which of its kernels computes a layer with aligned operands, where it has several: a GPU accepts
  // each of them apart.
  const char* (*variant)(Op, const Conv2dShape&) = nullptr;
};

extern const Algorithm kDepthwiseToeplitz, kDepthwiseToeplitzGradWeight, kDepthwise,
    kDepthwiseGradWeight, kDepthwiseToeplitzImages, kDepthwiseHalves, kGrouped, kGeneral,
    kReference;

struct Algorithms {
  const Algorithm* first;
  int count;
  const Algorithm* begin() const { return first; }
  const Algorithm* end() const { return first + count; }
};

Algorithms algorithms();

}  // namespace torchconv::cuda

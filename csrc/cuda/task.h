// What one launch computes, handed to kernels by value.
#pragma once

#include <cstdint>

#include "conv2d.h"

namespace torchconv::cuda {

// Tensors are dense in shape.layout; the weight has any strides.
struct Task {
  Op op;
  Conv2dShape shape;
  const void* input;         // [n, c, h, w]; kForward and kGradWeight
  const void* weight;        // [k, c / groups, r, s]; kForward and kGradInput
  const void* bias;          // [k] or null; kForward only
  const void* grad;          // [n, k, p, q]; kGradInput and kGradWeight
  int64_t weight_stride[4];  // of weight, or of the result of kGradWeight
  void* result;
  void* workspace;  // as many bytes as the algorithm asks for, aligned to 16
  bool allow_tf32;  // float32 may be multiplied in TF32
};

}  // namespace torchconv::cuda

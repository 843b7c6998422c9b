// Index arithmetic of the kernels: division without a divide instruction, dense tensors.
#pragma once

#include "cuda/device.h"

namespace torchconv::cuda {

__host__ __device__ __forceinline__ int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
__host__ __device__ __forceinline__ int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}
__host__ __device__ __forceinline__ int64_t larger(int64_t a, int64_t b) {
  return a > b ? a : b;
}

// Division of numbers from 0 to the largest of the signed type by one that is known before the
// launch. The quotient of the truncated reciprocal is at most one too small.
template <class Signed, class Unsigned>
struct BasicDivider {
  Signed divisor;
  Unsigned reciprocal;

  BasicDivider() = default;
  __host__ __device__ explicit BasicDivider(int64_t by)
      : divisor((Signed)by), reciprocal(~(Unsigned)0 / (Unsigned)by) {}

  __device__ __forceinline__ Signed divide(Signed x, Signed& rest) const {
    Unsigned quotient = high_product((Unsigned)x, reciprocal);
    rest = x - (Signed)quotient * divisor;
    if (rest >= divisor) {
      rest -= divisor;
      ++quotient;
    }
    return (Signed)quotient;
  }
};
using Divider = BasicDivider<int32_t, uint32_t>;
using LongDivider = BasicDivider<int64_t, uint64_t>;

// Element offsets of a dense tensor of channels x height x width per image.
struct Strides {
  int64_t image, channel, row, column;
};

inline Strides dense(Layout layout, int64_t channels, int64_t height, int64_t width) {
  const int64_t image = channels * height * width;
  if (layout == Layout::kContiguous) return {image, height * width, width, 1};
  return {image, 1, width * channels, channels};
}
inline Strides input_strides(const Conv2dShape& d) {
  return dense(d.layout, d.c, d.h, d.w);
}
inline Strides output_strides(const Conv2dShape& d) {
  return dense(d.layout, d.k, d.p, d.q);
}

// Calls f with a null pointer of the storage type.
template <class F>
cudaError_t dispatch_dtype(Dtype dtype, F&& f) {
  switch (dtype) {
    case Dtype::kFloat32:
      return f((float*)nullptr);
    case Dtype::kFloat64:
      return f((double*)nullptr);
    case Dtype::kBFloat16:
      return f((BFloat16*)nullptr);
    default:
      return f((Float16*)nullptr);
  }
}

}  // namespace torchconv::cuda

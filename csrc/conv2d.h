// The shape of one convolution, the three operators and the storage types, shared by every device.
// No torch here.
//
// Symbols, used verbatim in the code, the documentation and the tests:
//   n c h w   batch, input channels, input height and width
//   k r s     output channels, kernel height and width
//   p q       output height and width
#pragma once

#include <cstdint>

namespace torchconv {

enum class Op { kForward, kGradInput, kGradWeight };
enum class Dtype { kFloat32, kFloat64, kBFloat16, kFloat16 };
enum class Layout { kContiguous, kChannelsLast };

constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
constexpr int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}
constexpr int64_t larger(int64_t a, int64_t b) {
  return a > b ? a : b;
}

struct BFloat16 {
  uint16_t bits;
};

struct Float16 {
  uint16_t bits;
};

// The type that sums are kept in: float for the half types.
template <class S>
struct ComputeOf {
  using type = float;
};
template <>
struct ComputeOf<double> {
  using type = double;
};
template <class S>
using Compute = typename ComputeOf<S>::type;

// What f returns for a null pointer of the storage type.
template <class F>
auto dispatch_dtype(Dtype dtype, F&& f) {
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

// Element offsets of a dense tensor of channels x height x width per image.
struct Strides {
  int64_t image, channel, row, column;
};

inline Strides dense(Layout layout, int64_t channels, int64_t height, int64_t width) {
  const int64_t image = channels * height * width;
  if (layout == Layout::kContiguous) return {image, height * width, width, 1};
  return {image, 1, width * channels, channels};
}

struct Conv2dShape {
  int64_t n, c, h, w;
  int64_t k, r, s;
  int64_t p, q;
  int64_t stride_h, stride_w;
  int64_t pad_top, pad_bottom, pad_left, pad_right;
  int64_t dilation_h, dilation_w;
  int64_t groups;
  Dtype dtype;
  Layout layout;  // of input, grad and result; the weight carries its own strides

  int64_t c_per_group() const { return c / groups; }
  int64_t k_per_group() const { return k / groups; }
};

inline Strides input_strides(const Conv2dShape& d) {
  return dense(d.layout, d.c, d.h, d.w);
}
inline Strides output_strides(const Conv2dShape& d) {
  return dense(d.layout, d.k, d.p, d.q);
}

// floor((size + pad_before + pad_after - dilation * (kernel - 1) - 1) / stride) + 1, or 0 where the
// kernel does not fit, however large it is.
inline int64_t output_size(int64_t size, int64_t pad_before, int64_t pad_after, int64_t dilation,
                           int64_t kernel, int64_t stride) {
  const int64_t padded = size + pad_before + pad_after;
  if (padded < 1 || kernel - 1 > (padded - 1) / dilation) return 0;
  return (padded - 1 - dilation * (kernel - 1)) / stride + 1;
}

}  // namespace torchconv

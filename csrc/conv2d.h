// The shape of one convolution and the three operators, shared by every device. No torch here.
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

struct BFloat16 {
  uint16_t bits;
};

struct Float16 {
  uint16_t bits;
};

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

// floor((size + pad_before + pad_after - dilation * (kernel - 1) - 1) / stride) + 1
inline int64_t output_size(int64_t size, int64_t pad_before, int64_t pad_after, int64_t dilation,
                           int64_t kernel, int64_t stride) {
  const int64_t room = size + pad_before + pad_after - dilation * (kernel - 1) - 1;
  return room < 0 ? 0 : room / stride + 1;
}

}  // namespace torchconv

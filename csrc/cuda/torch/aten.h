// The three operators as ATen computes them, for a call whose geometry leaves them to it: the same
// kernels as behind nn.Conv2d, since they are asked for in the same way. Any device; stable ABI only.
#pragma once

#include <array>
#include <optional>

#include "cuda/torch/aten_pad.h"

namespace torchconv::aten {

using torch::stable::detail::from;
using torch::stable::detail::to;

// A geometry as ATen's convolutions take it: other padding is added beforehand.
struct Geometry {
  Sizes stride, padding, dilation, output_padding{0, 0};
  int64_t groups;
  bool padded;

  explicit Geometry(const Sizes& g)
      : stride{g[0], g[1]},
        padding{g[2], g[4]},
        dilation{g[6], g[7]},
        groups(g[8]),
        padded(g[2] != g[3] || g[4] != g[5] || mode_of(g) != PaddingMode::kZeros) {
    if (padded) padding = {0, 0};
  }
};

inline Tensor conv2d(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                     const Sizes& geometry) {
  const Conv2dShape d =
      make_shape(input.sizes(), weight.sizes(), geometry, to_dtype(input.scalar_type()));
  const Geometry g(geometry);
  std::array<StableIValue, 9> stack{from(g.padded ? pad(input, geometry) : input),
                                    from(weight),
                                    from(bias),
                                    from(g.stride),
                                    from(g.padding),
                                    from(g.dilation),
                                    from(false),
                                    from(g.output_padding),
                                    from(g.groups)};
  STABLE_TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("aten::convolution", "", stack.data(), TORCH_ABI_VERSION));
  return make_dense(to<Tensor>(stack[0]), d.layout);
}

// Gradient of the input (which = 0) or of the weight (which = 1). Of the operand that is not a
// factor of it ATen reads size and strides only.
inline Tensor backward(int which, const Tensor& grad, const Tensor& input, const Tensor& weight,
                       const Geometry& g) {
  const bool mask[3] = {which == 0, which == 1, false};
  std::array<StableIValue, 11> stack{from(grad),
                                     from(input),
                                     from(weight),
                                     from(std::optional<Sizes>()),
                                     from(g.stride),
                                     from(g.padding),
                                     from(g.dilation),
                                     from(false),
                                     from(g.output_padding),
                                     from(g.groups),
                                     from(torch::headeronly::HeaderOnlyArrayRef<bool>(mask, 3))};
  STABLE_TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("aten::convolution_backward", "", stack.data(), TORCH_ABI_VERSION));
  const Tensor results[3] = {to<Tensor>(stack[0]), to<Tensor>(stack[1]), to<Tensor>(stack[2])};
  return results[which];
}

inline Tensor conv2d_grad_input(const Tensor& grad, const Tensor& weight, const Sizes& input_size,
                                const Sizes& geometry) {
  const Conv2dShape d =
      make_shape(input_size, weight.sizes(), geometry, to_dtype(grad.scalar_type()));
  const Geometry g(geometry);
  const int64_t h = d.h + (g.padded ? d.pad_top + d.pad_bottom : 0);
  const int64_t w = d.w + (g.padded ? d.pad_left + d.pad_right : 0);
  const Tensor input = empty(grad, {d.n, d.c, h, w}, d.layout);
  Tensor result = backward(0, make_dense(grad, d.layout), input, weight, g);
  return make_dense(g.padded ? unpad(result, d, mode_of(geometry)) : result, d.layout);
}

inline Tensor conv2d_grad_weight(const Tensor& grad, const Tensor& input, const Sizes& weight_size,
                                 const Sizes& geometry) {
  const Conv2dShape d =
      make_shape(input.sizes(), weight_size, geometry, to_dtype(grad.scalar_type()));
  const Geometry g(geometry);
  const Tensor weight = empty(grad, {d.k, d.c_per_group(), d.r, d.s}, d.layout);
  const Tensor source = g.padded ? pad(input, geometry) : input;
  return make_dense(backward(1, make_dense(grad, d.layout), source, weight, g), d.layout);
}

}  // namespace torchconv::aten

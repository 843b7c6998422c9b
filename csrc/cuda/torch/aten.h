// The three operators as ATen computes them, for a call whose geometry leaves them to it: the same
// kernels as behind nn.Conv2d, since they are asked for in the same way. Any device; stable ABI only.
#pragma once

#include <array>
#include <optional>

#include "tensor_utils.h"

namespace torchconv::aten {

using torch::stable::detail::from;
using torch::stable::detail::to;

// A geometry as ATen takes it: where the padding of two sides differs, it is added beforehand.
struct Geometry {
  Sizes stride, padding, dilation, output_padding{0, 0};
  Sizes padded;  // left, right, top, bottom, or empty
  int64_t groups;

  explicit Geometry(const Sizes& g)
      : stride{g[0], g[1]}, padding{g[2], g[4]}, dilation{g[6], g[7]}, groups(g[8]) {
    if (g[2] == g[3] && g[4] == g[5]) return;
    padded = {g[4], g[5], g[2], g[3]};
    padding = {0, 0};
  }
};

inline Tensor pad(const Tensor& input, const Geometry& g) {
  return g.padded.empty() ? input : torch::stable::pad(input, g.padded);
}

inline Tensor empty(const Tensor& like, const int64_t (&size)[4], Layout layout) {
  int32_t type;
  require(aoti_torch_get_device_type(like.get(), &type) == AOTI_TORCH_SUCCESS, "no device");
  return empty_dense(like, size, layout, type, like.get_device_index());
}

inline Tensor conv2d(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                     const Sizes& geometry) {
  const Conv2dShape d =
      make_shape(input.sizes(), weight.sizes(), geometry, to_dtype(input.scalar_type()));
  const Geometry g(geometry);
  std::array<StableIValue, 9> stack{from(pad(input, g)), from(weight),           from(bias),
                                    from(g.stride),      from(g.padding),        from(g.dilation),
                                    from(false),         from(g.output_padding), from(g.groups)};
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
  const int64_t h = d.h + (g.padded.empty() ? 0 : d.pad_top + d.pad_bottom);
  const int64_t w = d.w + (g.padded.empty() ? 0 : d.pad_left + d.pad_right);
  const Tensor input = empty(grad, {d.n, d.c, h, w}, d.layout);
  Tensor result = backward(0, make_dense(grad, d.layout), input, weight, g);
  if (!g.padded.empty()) {
    result = torch::stable::narrow(result, 2, d.pad_top, d.h);
    result = torch::stable::narrow(result, 3, d.pad_left, d.w);
  }
  return make_dense(result, d.layout);
}

inline Tensor conv2d_grad_weight(const Tensor& grad, const Tensor& input, const Sizes& weight_size,
                                 const Sizes& geometry) {
  const Conv2dShape d =
      make_shape(input.sizes(), weight_size, geometry, to_dtype(grad.scalar_type()));
  const Geometry g(geometry);
  const Tensor weight = empty(grad, {d.k, d.c_per_group(), d.r, d.s}, d.layout);
  return make_dense(backward(1, make_dense(grad, d.layout), pad(input, g), weight, g), d.layout);
}

}  // namespace torchconv::aten

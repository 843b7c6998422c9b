// Padding that ATen's convolutions do not take, by ATen: F.pad and its adjoint. Any device; stable ABI
// only.
#pragma once

#include <array>

#include "padding_mode.h"
#include "tensor_utils.h"

namespace torchconv::aten {

inline PaddingMode mode_of(const Sizes& geometry) {
  return static_cast<PaddingMode>(geometry[9] / kPaddingModeFlag % 4);
}

inline Tensor empty(const Tensor& like, const int64_t (&size)[4], Layout layout) {
  int32_t type;
  require(aoti_torch_get_device_type(like.get(), &type) == AOTI_TORCH_SUCCESS, "no device");
  return empty_dense(like, size, layout, type, like.get_device_index());
}

inline Tensor pad(const Tensor& input, const Sizes& g) {
  constexpr const char* kNames[] = {"constant", "reflect", "replicate", "circular"};
  return torch::stable::pad(input, Sizes{g[4], g[5], g[2], g[3]},
                            kNames[static_cast<int>(mode_of(g))]);
}

// to += more, in place of a view.
inline void add(Tensor to, const Tensor& more) {
  torch::stable::copy_(to, torch::stable::subtract(to, more, -1.0));
}

// Of one dimension, each element with those of the padding that are copies of it.
inline Tensor wrap(Tensor padded, int64_t dim, int64_t before, int64_t size, int64_t after) {
  using torch::stable::narrow;
  Tensor inner = narrow(padded, dim, before, size);
  add(narrow(inner, dim, size - before, before), narrow(padded, dim, 0, before));
  add(narrow(inner, dim, 0, after), narrow(padded, dim, before + size, after));
  return inner;
}

// The adjoint of `pad`: the gradient of an input from that of the padded one, which may be changed.
inline Tensor unpad(Tensor padded, const Conv2dShape& d, PaddingMode mode) {
  using torch::stable::detail::from;
  if (mode == PaddingMode::kZeros) {
    Tensor rows = torch::stable::narrow(padded, 2, d.pad_top, d.h);
    return torch::stable::narrow(rows, 3, d.pad_left, d.w);
  }
  if (mode == PaddingMode::kCircular) {
    const Tensor rows = wrap(padded, 2, d.pad_top, d.h, d.pad_bottom);
    return wrap(rows, 3, d.pad_left, d.w, d.pad_right);
  }
  const Sizes sides = {d.pad_left, d.pad_right, d.pad_top, d.pad_bottom};
  const Tensor input = empty(padded, {d.n, d.c, d.h, d.w}, d.layout);
  std::array<StableIValue, 3> stack{from(padded), from(input), from(sides)};
  const char* const name = mode == PaddingMode::kReflect ? "aten::reflection_pad2d_backward"
                                                         : "aten::replication_pad2d_backward";
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher(name, "", stack.data(), TORCH_ABI_VERSION));
  return torch::stable::detail::to<Tensor>(stack[0]);
}

}  // namespace torchconv::aten

// What several operators of the CPU read from their arguments.
#pragma once

#include <optional>

#include "check.h"
#include "cpu/kept_weights.h"
#include "cpu/plan.h"
#include "tensor_utils.h"

namespace torchconv::cpu {

inline Winograd winograd_of(const Sizes& geometry) {
  const int64_t flags = geometry[9];
  if (flags & kWinogradOffFlag) return Winograd::kOff;
  return flags & kWinogradF2Flag ? Winograd::kF2 : Winograd::kAuto;
}

// Modes that repeat elements of the input need as many of them, as those of torch.nn.functional.pad do.
inline void check_margins(PaddingMode mode, int64_t size, int64_t before, int64_t after,
                          const char* name) {
  if (mode == PaddingMode::kZeros) return;
  const int64_t widest = larger(before, after);
  const bool reflect = mode == PaddingMode::kReflect, circular = mode == PaddingMode::kCircular;
  const int64_t most = reflect ? size - 1 : circular ? size : widest;
  require(size > 0 && widest <= most, "padding of ", widest, " is too large for padding_mode ",
          reflect    ? "'reflect'"
          : circular ? "'circular'"
                     : "'replicate'",
          " and an input of ", name, " ", size);
}

// The same shape with the mode that the flags of its geometry say.
inline Conv2dShape with_padding_mode(const Conv2dShape& shape, const Sizes& geometry) {
  if (!shape.pad_top && !shape.pad_bottom && !shape.pad_left && !shape.pad_right) return shape;
  const auto mode = (PaddingMode)(geometry[9] / kPaddingModeFlag & 3);
  check_margins(mode, shape.h, shape.pad_top, shape.pad_bottom, "height");
  check_margins(mode, shape.w, shape.pad_left, shape.pad_right, "width");
  return {shape, mode};
}

// What _pack_weights returned, or null: it may be empty.
inline const char* packed_data(const std::optional<Tensor>& packed) {
  if (!packed || packed->numel() < (int64_t)sizeof(PackedHeader)) return nullptr;
  require(packed->is_cpu() && packed->dim() == 1 && packed->element_size() == 1,
          "packed must be what _pack_weights returned");
  return static_cast<const char*>(packed->const_data_ptr());
}

inline double multiply_adds(const Conv2dShape& shape) {
  return static_cast<double>(shape.n) * shape.k * shape.p * shape.q * shape.c_per_group() *
         shape.r * shape.s;
}

inline Activation to_activation(int64_t number) {
  require(0 <= number && number <= (int64_t)Activation::kLeakyRelu, "no such activation: ", number);
  return (Activation)number;
}

}  // namespace torchconv::cpu

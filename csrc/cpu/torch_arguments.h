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

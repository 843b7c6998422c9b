// What several operators of the CPU read from their arguments.
#pragma once

#include "check.h"
#include "cpu/plan.h"
#include "tensor_utils.h"

namespace torchconv::cpu {

inline Winograd winograd_of(const Sizes& geometry) {
  const int64_t flags = geometry[9];
  if (flags & kWinogradOffFlag) return Winograd::kOff;
  return flags & kWinogradF2Flag ? Winograd::kF2 : Winograd::kAuto;
}

inline Activation to_activation(int64_t number) {
  require(0 <= number && number <= (int64_t)Activation::kLeakyRelu, "no such activation: ", number);
  return (Activation)number;
}

}  // namespace torchconv::cpu

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

// A filter of every output: that of a linear layer, [k, c], is one of a kernel of one tap.
struct Filters {
  Sizes size;
  int64_t stride[4];

  explicit Filters(const Tensor& weight) : size(weight.sizes().vec()) {
    require(size.size() == 4 || size.size() == 2, "weight must have 4 dimensions, or 2");
    for (size_t i = 0; i < 4; ++i) stride[i] = i < size.size() ? weight.stride((int64_t)i) : 1;
    size.resize(4, 1);
  }
};

inline Activation to_activation(int64_t number) {
  require(0 <= number && number <= (int64_t)Activation::kLeakyRelu, "no such activation: ", number);
  return (Activation)number;
}

}  // namespace torchconv::cpu

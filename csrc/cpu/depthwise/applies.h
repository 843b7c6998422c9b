// Which layers are depthwise. No torch, no SIMD.
#pragma once

#include "cpu/common/cost_model.h"
#include "cpu/plan.h"

namespace torchconv::cpu {

// Why not; null where each channel is a group of its own.
inline const char* not_depthwise(const Conv2dShape& shape) {
  if (shape.c == 0 || shape.k == 0) return "no channels";
  if (shape.groups != shape.c) return "a group has several input channels";
  return shape.k > cost::kMostMultiplier * shape.c
             ? "more than three output channels for each input channel"
             : nullptr;
}

}  // namespace torchconv::cpu

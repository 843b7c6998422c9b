// Which layers Winograd's algorithms compute, in any direction. No torch, no SIMD.
#pragma once

#include "cpu/plan.h"

namespace torchconv::cpu {

// Why not; null for a dense kernel of `taps` x `taps`, 3 or 5, without stride and dilation.
inline const char* not_winograd(const Conv2dShape& shape, int taps) {
  if (shape.c == 0 || shape.k == 0) return "no channels";
  if (!shape.n || !shape.h || !shape.w || !shape.p || !shape.q) return "no pixels";
  if (shape.r != taps || shape.s != taps)
    return taps == 3 ? "the kernel is not 3 x 3" : "the kernel is not 5 x 5";
  if (shape.stride_h != 1 || shape.stride_w != 1 || shape.dilation_h != 1 || shape.dilation_w != 1)
    return "there is a stride or a dilation";
  if (shape.groups != 1) return "there are groups";
  if (shape.dtype == Dtype::kFloat64) return "float64 is summed directly";
  return nullptr;
}

}  // namespace torchconv::cpu

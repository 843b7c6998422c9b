// How the operator activate deals out a tensor, which it takes for a row of elements.
#pragma once

#include "cpu/common/element.h"
#include "cpu/plan.h"

namespace torchconv::cpu {

struct ActivatePlan {
  int64_t elements;
  int64_t per_job;
  // What a number is added to, to become zero where it is denormal. It is here, and not known when the
  // kernels are compiled, because the addition would be left out then.
  double minus_zero = -0.0;
};

inline ActivatePlan make_activate_plan(int64_t elements, Dtype dtype) {
  constexpr int64_t kBytes =
      8192;  // stays in the first cache, beside as much of the input and residual
  return {elements, kBytes / stored_bytes(dtype)};
}

}  // namespace torchconv::cpu

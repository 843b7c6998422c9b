// Weights that somebody keeps packed between calls: a header that says for which plans they are, and what
// stage 0 of such a plan makes. No torch.
#pragma once

#include <cstring>

#include "cpu/plan.h"

namespace torchconv::cpu {

// All that the result of stage 0 depends on, beside the weights themselves.
struct PackedHeader {
  static constexpr int kValues = 32;  // 256 bytes: what follows is aligned as the memory is
  int64_t values[kValues] = {};

  PackedHeader(const Algorithm& algorithm, const Plan& plan, const Conv2dShape& shape) {
    const int64_t all[] = {reinterpret_cast<int64_t>(&algorithm),
                           (int64_t)plan.isa,
                           plan.shared_bytes,
                           (int64_t)shape.dtype,
                           (int64_t)shape.layout,
                           shape.c,
                           shape.k,
                           shape.r,
                           shape.s,
                           shape.stride_h,
                           shape.stride_w,
                           shape.pad_top,
                           shape.pad_bottom,
                           shape.pad_left,
                           shape.pad_right,
                           shape.dilation_h,
                           shape.dilation_w,
                           shape.groups};
    constexpr int kShape = sizeof(all) / sizeof(all[0]);
    static_assert(kShape + Plan::kPackingCuts <= kValues);
    std::memcpy(values, all, sizeof(all));
    std::memcpy(values + kShape, plan.packing, sizeof(plan.packing));
  }

  bool equals(const char* packed) const { return !std::memcmp(packed, values, sizeof(values)); }
};

// The weights behind the header, if they are for this plan, else null.
inline const char* packed_for(const Task& task, const Algorithm& algorithm, const Plan& plan) {
  if (!task.packed || !plan.packs_weights) return nullptr;
  const PackedHeader header(algorithm, plan, task.shape);
  return header.equals(task.packed) ? task.packed + sizeof(header) : nullptr;
}

}  // namespace torchconv::cpu

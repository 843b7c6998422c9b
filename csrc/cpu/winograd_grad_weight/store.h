// The store stage of winograd_grad_weight: the sums of a block to the result.
#pragma once

#include "cpu/common/copy.h"
#include "cpu/winograd_grad_weight/plan.h"

namespace torchconv::cpu {
namespace {

// Writes a block's sums [tap][c][k] to its part of the result, [k][c][r][s] or [k][r][s][c].
template <class S>
void store_block(const Task& task, const WinogradGradWeightPlan& plan, int64_t c_block,
                 int64_t k_block, const float* sums) {
  using Plan = WinogradGradWeightPlan;
  const Conv2dShape& shape = task.shape;
  const int64_t c = plan.input.cut.begin(c_block);
  const int64_t inputs = plan.input.cut.length(c_block, shape.c);
  const int64_t outputs = plan.grad.cut.length(k_block, shape.k), filter = shape.c * Plan::kTaps;
  const int64_t plane = plan.input.cut.size * plan.grad.cut.size;
  S* const result = (S*)task.result + plan.grad.cut.begin(k_block) * filter;
  if (shape.layout == Layout::kContiguous) {
    for (int64_t m = 0; m < inputs; ++m) {
      transpose_copy(sums + m * plan.grad.cut.size, plane, Plan::kTaps, outputs,
                     result + (c + m) * Plan::kTaps, filter);
    }
    return;
  }
  for (int64_t tap = 0; tap < Plan::kTaps; ++tap) {
    transpose_copy(sums + tap * plane, plan.grad.cut.size, inputs, outputs,
                   result + tap * shape.c + c, filter);
  }
}

}  // namespace
}  // namespace torchconv::cpu

// The store stage of winograd_grad_weight: the sums of a block to the result.
#pragma once

#include "cpu/common/copy.h"
#include "cpu/winograd_grad_weight/plan.h"

namespace torchconv::cpu {
namespace {

// Writes a block's sums [c][tap][k] to its part of the result, [k][c][r][s] or [k][r][s][c].
template <class S>
void store_block(const Task& task, const WinogradGradWeightPlan& plan, int64_t block,
                 const float* sums) {
  const int64_t c_block = block / plan.grad.cut.count, k_block = block % plan.grad.cut.count;
  const Conv2dShape& shape = task.shape;
  const int64_t taps = plan.taps;
  const int64_t c = plan.input.cut.begin(c_block), wide = plan.grad.cut.size;
  const int64_t inputs = plan.input.cut.length(c_block, shape.c);
  const int64_t outputs = plan.grad.cut.length(k_block, shape.k), filter = shape.c * taps;
  S* const result = (S*)task.result + plan.grad.cut.begin(k_block) * filter;
  if (shape.layout == Layout::kContiguous)
    return transpose_copy(sums, wide, inputs * taps, outputs, result + c * taps, filter);
  for (int64_t tap = 0; tap < taps; ++tap) {
    transpose_copy(sums + tap * wide, taps * wide, inputs, outputs, result + tap * shape.c + c,
                   filter);
  }
}

}  // namespace
}  // namespace torchconv::cpu

// The store stage of winograd_grad_weight: the sums of a block to the result.
#pragma once

#include "cpu/common/copy.h"
#include "cpu/winograd_grad_weight/plan.h"

namespace torchconv::cpu {
namespace {

// The taps of a part, [tap][k], of one input channel: `out` is that of output channel 0, `filter` before the next.
template <class S>
void store_part(const float* sums, int64_t wide, int64_t outputs,
                const WinogradGradWeightPlan& plan, const PartTaps& taps, S* out, int64_t filter) {
  constexpr int64_t kMostTaps = 25, kLanes = kLaneBlock<float>;
  S part[kLanes * kMostTaps];  // [k][tap]
  const int64_t row = plan.parts.across.size, next_row = plan.parts.kernel_columns;
  out += taps.row * next_row + taps.column;
  for (int64_t first = 0; first < outputs; first += kLanes) {
    const int64_t count = smaller(kLanes, outputs - first);
    transpose_copy(sums + first, wide, plan.taps, count, part, plan.taps);
    for (int64_t k = 0; k < count; ++k) {
      for (int64_t r = 0; r < taps.rows; ++r) {
        for (int64_t s = 0; s < taps.columns; ++s)
          out[(first + k) * filter + r * next_row + s] = part[k * plan.taps + r * row + s];
      }
    }
  }
}

// Writes a block's sums [c][tap][k] to its part of the result, [k][c][r][s] or [k][r][s][c].
template <class S>
void store_block(const Task& task, const WinogradGradWeightPlan& plan, int64_t block,
                 const float* sums) {
  const int64_t input_block = block / plan.grad.cut.count, k_block = block % plan.grad.cut.count;
  const int64_t part = input_block / plan.input.cut.count,
                c_block = input_block % plan.input.cut.count;
  const Conv2dShape& shape = task.shape;
  const PartTaps taps = plan.parts.taps(part);
  const int64_t all_taps = shape.r * shape.s;
  const int64_t c = plan.input.cut.begin(c_block), wide = plan.grad.cut.size;
  const int64_t inputs = plan.input.cut.length(c_block, shape.c);
  const int64_t outputs = plan.grad.cut.length(k_block, shape.k), filter = shape.c * all_taps;
  S* const result = (S*)task.result + plan.grad.cut.begin(k_block) * filter;
  if (shape.layout == Layout::kContiguous) {
    if (plan.parts.count() == 1 && taps.rows * taps.columns == plan.taps) {
      return transpose_copy(sums, wide, inputs * plan.taps, outputs, result + c * plan.taps,
                            filter);
    }
    for (int64_t i = 0; i < inputs; ++i) {
      store_part(sums + i * plan.taps * wide, wide, outputs, plan, taps,
                 result + (c + i) * all_taps, filter);
    }
    return;
  }
  for (int64_t r = 0; r < taps.rows; ++r) {
    for (int64_t s = 0; s < taps.columns; ++s) {
      const int64_t tap = (taps.row + r) * shape.s + taps.column + s;
      transpose_copy(sums + (r * plan.parts.across.size + s) * wide, plan.taps * wide, inputs,
                     outputs, result + tap * shape.c + c, filter);
    }
  }
}

}  // namespace
}  // namespace torchconv::cpu

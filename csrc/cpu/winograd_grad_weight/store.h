// The store stage of winograd_grad_weight: products at the points to sums of taps, and those to the result.
#pragma once

#include "cpu/common/copy.h"
#include "cpu/common/register_tile.h"
#include "cpu/winograd_grad_weight/plan.h"
#include "cpu/winograd_grad_weight/transforms.h"

namespace torchconv::cpu {
namespace {

// From [point][c][k] to [tap][c][k], `count` elements of c x k each.
[[gnu::noinline]] inline void sum_points(const float* products, int64_t count, float* sums) {
  using V = Simd<float>;
  using Vec = V::Vec;
  for (int64_t at = 0; at < count; at += V::kLanes) {
    Vec half[3][kWinogradSide];
#pragma GCC unroll 6
    for (int j = 0; j < kWinogradSide; ++j) {
      Vec in[kWinogradSide], taps[3];
#pragma GCC unroll 6
      for (int i = 0; i < kWinogradSide; ++i) {
        in[i] = V::load(products + (i * kWinogradSide + j) * count + at);
      }
      weight_transform<V>(in, taps);
#pragma GCC unroll 3
      for (int r = 0; r < 3; ++r) half[r][j] = taps[r];
    }
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r) {
      Vec taps[3];
      weight_transform<V>(half[r], taps);
#pragma GCC unroll 3
      for (int s = 0; s < 3; ++s) {
        V::store(sums + (r * 3 + s) * count + at, without_sign_of_zero<V>(taps[s]));
      }
    }
  }
}

// Writes a block's sums [tap][c][k] to its part of the result, [k][c][r][s] or [k][r][s][c].
template <class S>
void store_block(const Task& task, const WinogradGradWeightPlan& plan, int64_t c_block,
                 int64_t k_block, const float* sums) {
  using Plan = WinogradGradWeightPlan;
  const Conv2dShape& shape = task.shape;
  const int64_t c = plan.c.begin(c_block), inputs = plan.c.length(c_block, shape.c);
  const int64_t outputs = plan.k.length(k_block, shape.k), filter = shape.c * Plan::kTaps;
  const int64_t plane = plan.c.size * plan.k.size;
  S* const result = (S*)task.result + plan.k.begin(k_block) * filter;
  if (shape.layout == Layout::kContiguous) {
    for (int64_t m = 0; m < inputs; ++m) {
      transpose_copy(sums + m * plan.k.size, plane, Plan::kTaps, outputs,
                     result + (c + m) * Plan::kTaps, filter);
    }
    return;
  }
  for (int64_t tap = 0; tap < Plan::kTaps; ++tap) {
    transpose_copy(sums + tap * plane, plan.k.size, inputs, outputs, result + tap * shape.c + c,
                   filter);
  }
}

}  // namespace
}  // namespace torchconv::cpu

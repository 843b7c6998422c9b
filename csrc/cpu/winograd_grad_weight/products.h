// The middle of winograd_grad_weight: at each point the products of the operands' values are summed over the
// tiles, then the sums at the points become those of the taps.
#pragma once

#include "cpu/common/run_rows.h"
#include "cpu/winograd_grad_weight/plan.h"
#include "cpu/winograd_grad_weight/transforms.h"

namespace torchconv::cpu {
namespace {

// What the parts of a thread's scratch memory hold.
struct WinogradScratch {
  int64_t *input_offset, *grad_offset;  // [tile of a pass]
  float* patch;
  float *input, *grad;  // [point][tile][channel], of a pass, where they are a job's own
  float* products;      // [point][c][k]
  float* sums;          // [c][tap][k]

  WinogradScratch(const WinogradGradWeightPlan& plan, char* scratch) {
    input_offset = (int64_t*)scratch, grad_offset = input_offset + plan.pass_tiles;
    patch = (float*)(grad_offset + plan.pass_tiles);
    input = patch + plan.patch_size;
    const bool own = plan.operands == WinogradGradWeightPlan::Operands::kOwn;
    grad = input + (own ? plan.input.size : 0);
    products = grad + (own ? plan.grad.size : 0);
    sums = products + plan.points * plan.channels_of_block();
    for (int64_t t = 0; t < plan.pass_tiles; ++t) {
      input_offset[t] = t * plan.input.cut.size, grad_offset[t] = t * plan.grad.cut.size;
    }
  }
};

// products of `inputs` x `outputs` channels: started with, or added to, the tiles of a pass, whose operands
// are at `input` and `grad`
inline void multiply_tiles(const WinogradGradWeightPlan& plan, const WinogradScratch& scratch,
                           const float* input, const float* grad, int64_t inputs, int64_t outputs,
                           int64_t tiles, Sum sum) {
  constexpr int64_t kLanes = kLaneBlock<float>;
  const int64_t wide = plan.grad.cut.size;
  // Slabs of equal tiles, where registers are many.
  const int64_t slab = even_part(wide / kLanes, larger(3, kSlabBlocks<float>)) * kLanes;
  Tile<float> tile;
  Ahead<float> ahead;  // the operands of the next point
  tile.partials = {tiles};
  tile.offset = scratch.input_offset;
  tile.b_offset = scratch.grad_offset;
  tile.a_row = 1;
  tile.a_step = plan.input.cut.size, tile.step = wide;
  tile.c_row = wide;
  tile.sum = sum;
  for (int64_t point = 0; point < plan.points; ++point) {
    tile.a = input + point * plan.input.pitch;
    for (int64_t k = 0; k < outputs; k += slab) {
      tile.b = grad + point * plan.grad.pitch + k;
      if (plan.operands == WinogradGradWeightPlan::Operands::kShared) {
        ahead = {k ? grad + (point + 1) * plan.grad.pitch : tile.a + plan.input.pitch,
                 tiles * (k ? wide : plan.input.cut.size) / inputs};
      }
      tile.c = scratch.products + point * plan.channels_of_block() + k;
      run_rows<float, Steps::kTransposed>(tile, inputs, smaller(slab, outputs - k), ahead);
    }
  }
}

// From the products of one input channel and `outputs` channels, at points that are `pitch` apart, to the
// sums of its taps.
template <class F>
void sum_points(const float* products, int64_t pitch, int64_t outputs, float* sums) {
  using V = Simd<float>;
  using Down = typename F::Down;
  using Across = typename F::Across;
  for (int64_t k = 0; k < outputs; k += V::kLanes) {
    transform_both_axes<V, Down::kPoints, Down::kTaps, Across::kPoints, Across::kTaps>(
        [](const auto& values, auto& taps) { taps_transform<V>(Down{}, values, taps); },
        [](const auto& values, auto& taps) { taps_transform<V>(Across{}, values, taps); },
        [&](int i, int j) { return V::load(products + (i * Across::kPoints + j) * pitch + k); },
        [&](int r, int s, V::Vec tap) {
          V::store(sums + (r * Across::kTaps + s) * outputs + k, without_sign_of_zero<V>(tap));
        });
  }
}

}  // namespace
}  // namespace torchconv::cpu

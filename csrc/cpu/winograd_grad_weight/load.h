// The load stage of winograd_grad_weight: tiles of both operands, transformed, as [point][tile][channel].
#pragma once

#include "cpu/common/load_patch.h"
#include "cpu/winograd_grad_weight/plan.h"
#include "cpu/winograd_grad_weight/transforms.h"

namespace torchconv::cpu {
namespace {

// Tiles side by side in one tile row of an image.
struct TileRun {
  int64_t image, row, column, tiles;
};

// One tile, [row][column][channel], to its values at the points, `pitch` apart. kIn: elements a side.
template <class V, int kIn, class Transform>
inline void transform_tile(const float* tile, int64_t row, int64_t pixel, int64_t channels,
                           float* out, int64_t pitch, const Transform& transform) {
  using Vec = typename V::Vec;
  for (int64_t c = 0; c < channels; c += V::kLanes) {
    Vec half[kWinogradSide][kIn];
#pragma GCC unroll 6
    for (int j = 0; j < kIn; ++j) {
      Vec in[kIn], values[kWinogradSide];
#pragma GCC unroll 6
      for (int i = 0; i < kIn; ++i) in[i] = V::load(tile + i * row + j * pixel + c);
      transform(in, values);
#pragma GCC unroll 6
      for (int i = 0; i < kWinogradSide; ++i) half[i][j] = values[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < kWinogradSide; ++i) {
      Vec values[kWinogradSide];
      transform(half[i], values);
#pragma GCC unroll 6
      for (int j = 0; j < kWinogradSide; ++j) {
        V::store(out + (i * kWinogradSide + j) * pitch + c, values[j]);
      }
    }
  }
}

// Noinline: one copy for all storage types.
[[gnu::noinline]] inline void transform_input_tiles(const float* patch, int64_t row, int64_t pixel,
                                                    int64_t tiles, float* out, int64_t pitch) {
  using V = Simd<float>;
  for (int64_t t = 0; t < tiles; ++t) {
    transform_tile<V, 6>(patch + t * 4 * pixel, row, pixel, pixel, out + t * pixel, pitch,
                         [](const auto& in, auto& values) { source_transform4<V>(in, values); });
  }
}
[[gnu::noinline]] inline void transform_grad_tiles(const float* patch, int64_t row, int64_t pixel,
                                                   int64_t tiles, float* out, int64_t pitch) {
  using V = Simd<float>;
  for (int64_t t = 0; t < tiles; ++t) {
    transform_tile<V, 4>(patch + t * 4 * pixel, row, pixel, pixel, out + t * pixel, pitch,
                         [](const auto& in, auto& values) { grad_transform<V>(in, values); });
  }
}

// Loads the tiles of a run through a patch, with zeros where there is padding or no grad, and writes
// their values at the points to input and grad, from the tile `at` of the pass on.
template <class S>
void load_run(const Task& task, const WinogradGradWeightPlan& plan, int64_t c_block,
              int64_t k_block, const TileRun& run, int64_t at, float* patch, float* input,
              float* grad) {
  using Plan = WinogradGradWeightPlan;
  const Conv2dShape& shape = task.shape;
  const int64_t y = run.row * Plan::kTile, x = run.column * Plan::kTile;
  const int64_t columns = run.tiles * Plan::kTile;
  {
    const Image<S> image = {(const S*)task.input + run.image * shape.c * shape.h * shape.w,
                            shape.layout, shape.c, shape.h, shape.w};
    const PatchBox box = {y - shape.pad_top,     Plan::kTile + Plan::kHalo,      1,
                          x - shape.pad_left,    columns + Plan::kHalo,          1,
                          plan.c.begin(c_block), plan.c.length(c_block, shape.c)};
    load_patch(image, box, patch, plan.c.size);
    transform_input_tiles(patch, box.columns * plan.c.size, plan.c.size, run.tiles,
                          input + at * plan.c.size, plan.pitch.input);
  }
  const Image<S> image = {(const S*)task.grad + run.image * shape.k * shape.p * shape.q,
                          shape.layout, shape.k, shape.p, shape.q};
  const PatchBox box = {
      y, Plan::kTile, 1, x, columns, 1, plan.k.begin(k_block), plan.k.length(k_block, shape.k)};
  float* const grad_patch = patch + plan.size.input_patch;
  load_patch(image, box, grad_patch, plan.k.size);
  transform_grad_tiles(grad_patch, columns * plan.k.size, plan.k.size, run.tiles,
                       grad + at * plan.k.size, plan.pitch.grad);
}

}  // namespace
}  // namespace torchconv::cpu

// The load stage of winograd_grad_weight: tiles of an operand, transformed, as [point][tile][channel].
#pragma once

#include "cpu/common/load_patch.h"
#include "cpu/winograd_grad_weight/plan.h"
#include "cpu/winograd_grad_weight/transforms.h"

namespace torchconv::cpu {
namespace {

// One tile, [row][column][channel], to its values at the points, `pitch` apart. kSide: elements a side.
template <int kSide>
inline void transform_tile(const float* tile, int64_t row, int64_t pixel, float* out,
                           int64_t pitch) {
  using V = Simd<float>;
  const auto transform = [](const auto& in, auto& values) {
    if constexpr (kSide == kWinogradGrad) {
      grad_transform<V>(in, values);
    } else {
      source_transform<V>(in, values);
    }
  };
  for (int64_t c = 0; c < pixel; c += V::kLanes) {
    transform_both_axes<V, kSide, kWinogradSide>(
        transform, [&](int i, int j) { return V::load(tile + i * row + j * pixel + c); },
        [&](int i, int j, V::Vec value) {
          V::store(out + (i * kWinogradSide + j) * pitch + c, value);
        });
  }
}

// Not inlined: one copy for all storage types.
template <int kSide>
[[gnu::noinline]] void transform_tiles(const float* patch, int64_t row, int64_t pixel,
                                       int64_t tiles, float* out, int64_t pitch) {
  for (int64_t t = 0; t < tiles; ++t) {
    transform_tile<kSide>(patch + t * kWinogradGrad * pixel, row, pixel, out + t * pixel, pitch);
  }
}

// The tiles [begin, end), counted through the rows of tiles and the images, of one block of channels. Those
// that lie side by side are loaded together, through a patch with zeros where there is padding or no grad.
template <class S, int kSide>
void load_tiles(const WinogradGradWeightPlan& plan, const WinogradOperand& operand,
                const void* data, int64_t block, Range range, float* patch, float* out) {
  const int64_t pixel = operand.cut.size;
  const int64_t image_size = operand.channels * operand.height * operand.width;
  for (int64_t tile = range.begin, tiles; tile < range.end; tile += tiles, out += tiles * pixel) {
    const int64_t column = tile % plan.tile_columns, row = tile / plan.tile_columns;
    tiles = smaller(smaller(plan.run_tiles, plan.tile_columns - column), range.end - tile);
    const Image<S> image = {(const S*)data + row / plan.tile_rows * image_size, operand.layout,
                            operand.channels, operand.height, operand.width};
    const PatchBox box = {row % plan.tile_rows * kWinogradGrad - operand.pad_top,
                          kSide,
                          1,
                          column * kWinogradGrad - operand.pad_left,
                          (tiles - 1) * kWinogradGrad + kSide,
                          1,
                          operand.cut.begin(block),
                          operand.cut.length(block, operand.channels)};
    load_patch(image, box, patch, pixel);
    transform_tiles<kSide>(patch, box.columns * pixel, pixel, tiles, out, operand.pitch);
  }
}

}  // namespace
}  // namespace torchconv::cpu

// The load stage of winograd_grad_weight: tiles of an operand, transformed, as [point][tile][channel].
#pragma once

#include "cpu/winograd/load_tile.h"
#include "cpu/winograd_grad_weight/plan.h"
#include "cpu/winograd_grad_weight/transforms.h"

namespace torchconv::cpu {
namespace {

// The tiles [begin, end), counted through the rows of tiles and the images, of one block of channels, shifted by
// the first tap of a part of the kernel. Those that lie side by side are loaded together.
template <class Kind, class S>
void load_tiles(const WinogradGradWeightPlan& plan, const WinogradOperand& operand,
                const void* data, int64_t block, const PartTaps& shift, Range range, float* patch,
                float* out) {
  const int64_t image_size = operand.channels * operand.height * operand.width;
  for (int64_t tile = range.begin, tiles; tile < range.end; tile += tiles) {
    const int64_t column = tile % plan.tile_columns, row = tile / plan.tile_columns;
    tiles = smaller(smaller(plan.run_tiles, plan.tile_columns - column), range.end - tile);
    const Image<S> image = {(const S*)data + row / plan.tile_rows * image_size,
                            operand.layout,
                            operand.channels,
                            operand.height,
                            operand.width,
                            operand.margins};
    const int64_t left = plan.across.first(column), right = plan.across.first(column + tiles - 1);
    const int64_t down = plan.down.step, across = plan.across.step;
    const PatchBox box = {
        plan.down.first(row % plan.tile_rows) + shift.row * down - operand.pad_top,
        Kind::Down::kSide,
        down,
        left + shift.column * across - operand.pad_left,
        right - left + (Kind::Across::kSide - 1) * across + 1,
        1,
        operand.cut.begin(block),
        operand.cut.length(block, operand.channels)};
    with_window(image, box, patch, [&](const auto& window) {
      for (int64_t t = 0; t < tiles; ++t, out += operand.cut.size) {
        const int64_t x = box.column + plan.across.first(column + t) - left;
        load_tile<Kind>(window, {box.row, x, down, across}, box.channels,
                        {out, 0, operand.cut.size, 0}, operand.pitch);
      }
    });
  }
}

}  // namespace
}  // namespace torchconv::cpu

// How winograd_grad_weight cuts the weight gradient into jobs.
#pragma once

#include "cpu/common/arithmetic.h"
#include "cpu/common/cost_model.h"
#include "cpu/common/element.h"
#include "cpu/common/sample_chunks.h"
#include "cpu/common/sum_order.h"
#include "cpu/plan.h"
#include "cpu/winograd/filtering.h"
#include "cpu/winograd/parts.h"
#include "cpu/winograd/tile_axis.h"

namespace torchconv::cpu {

// The input or grad, as tiles.
struct WinogradOperand {
  Layout layout;
  int64_t channels, height, width;
  int64_t pad_top, pad_left;
  Margins margins;
  Cut cut;        // channels of a block of the result
  int64_t pitch;  // from one point to the next
  int64_t size;   // of all points
};

struct WinogradGradWeightPlan {
  int64_t points;                   // of a tile
  KernelParts parts;                // each has blocks of the result of its own
  int64_t taps;                     // of a part
  TileAxis down, across;            // where the tiles of grad are
  int64_t tile_rows, tile_columns;  // of an image
  WinogradOperand input, grad;
  int64_t blocks;  // of the result
  SampleChunks chunks;
  // By whom the operands are transformed: by each job its own, a pass at a time, or all before the products,
  // [block][point][tile][channel].
  enum class Operands { kOwn, kShared };
  Operands operands;
  int64_t passes;      // of the call
  int64_t pass_tiles;  // multiplied at once
  int64_t run_tiles;   // side by side, loaded at once
  int64_t patch_size;

  int64_t tiles() const { return tile_rows * tile_columns; }
  int64_t channels_of_block() const { return input.cut.size * grad.cut.size; }
  int64_t block_size() const { return taps * channels_of_block(); }
  int64_t scratch_bytes() const {
    const int64_t sums = chunks.whole_batch() ? block_size() : 0;
    const int64_t own = operands == Operands::kOwn ? input.size + grad.size : 0;
    return (patch_size + own + points * channels_of_block() + sums) * (int64_t)sizeof(float) +
           2 * pass_tiles * (int64_t)sizeof(int64_t);
  }
  // Where shared memory has an operand's block of channels: the input's first.
  // The input has the blocks of all parts.
  int64_t input_blocks() const { return parts.count() * input.cut.count; }
  int64_t input_at(int64_t block) const { return block * input.size; }
  int64_t grad_at(int64_t block) const { return input_at(input_blocks()) + block * grad.size; }
  int64_t shared_bytes() const { return grad_at(grad.cut.count) * (int64_t)sizeof(float); }
};

// Chunks of about so many tiles where the blocks of the result are too few to feed the threads.
inline SampleChunks winograd_chunks(int64_t blocks, int64_t tile_rows, int64_t tile_columns) {
  using namespace sum_order;
  if (blocks >= kBlocksWanted) return {};
  const int64_t tiles = tile_rows * tile_columns;
  SampleChunks chunks{};
  chunks.images = smaller(kMostChunkImages, ceil_div(kWinogradChunkTiles, tiles));
  chunks.wave = ceil_div(kBlocksWanted, blocks);
  chunks.parts = larger(1, smaller(smaller(tile_rows, chunks.wave), tiles / kWinogradChunkTiles));
  return chunks;
}

inline WinogradGradWeightPlan make_winograd_grad_weight_plan(const Conv2dShape& shape,
                                                             const AxisSizes& down,
                                                             const AxisSizes& across) {
  using namespace sum_order;
  using Plan = WinogradGradWeightPlan;
  const int64_t lanes = block_lanes(shape.dtype);
  Plan plan{};
  plan.points = down.points * across.points, plan.taps = (int64_t)down.taps * across.taps;
  plan.parts = KernelParts(shape.r, shape.s, down, across);
  plan.down = {shape.p, down.tile, shape.dilation_h};
  plan.across = {shape.q, across.tile, shape.dilation_w};
  plan.tile_rows = plan.down.count(), plan.tile_columns = plan.across.count();
  plan.pass_tiles = kWinogradPassTiles;
  plan.run_tiles = smaller(plan.tile_columns, cost::kWinogradRunTiles);
  plan.passes = ceil_div(shape.n * plan.tiles(), plan.pass_tiles);
  const auto cut = [&](WinogradOperand& operand) {
    const int64_t blocks = ceil_div(operand.channels, kWinogradBlock);
    const int64_t size = Cut::into(blocks, operand.channels).size;
    operand.cut = Cut::of(round_up(size, lanes), operand.channels);
  };
  const auto place = [&](WinogradOperand& operand, int64_t tiles) {
    operand.pitch = odd_lines(tiles * operand.cut.size, lanes);
    operand.size = plan.points * operand.pitch;
  };
  plan.input = {shape.layout,   shape.c,        shape.h, shape.w, shape.pad_top,
                shape.pad_left, margins(shape), {},      0,       0};
  plan.grad = {shape.layout, shape.k, shape.p, shape.q, 0, 0, {}, {}, 0, 0};
  cut(plan.input), cut(plan.grad);
  plan.blocks = plan.input_blocks() * plan.grad.cut.count;
  plan.chunks = winograd_chunks(plan.blocks, plan.tile_rows, plan.tile_columns);
  const int64_t all_tiles = plan.passes * plan.pass_tiles;
  place(plan.input, all_tiles), place(plan.grad, all_tiles);
  plan.operands = Plan::Operands::kShared;
  if (!plan.chunks.whole_batch() || plan.shared_bytes() > cost::kWinogradOperandsKept) {
    plan.operands = Plan::Operands::kOwn;
    place(plan.input, plan.pass_tiles), place(plan.grad, plan.pass_tiles);
  }
  const int64_t columns =
      smaller(plan.across.span(plan.run_tiles, across), shape.w + shape.pad_left + shape.pad_right);
  plan.patch_size = down.reach * columns * larger(plan.input.cut.size, plan.grad.cut.size);
  return plan;
}

}  // namespace torchconv::cpu

// How winograd_grad_weight cuts the weight gradient into jobs.
#pragma once

#include "cpu/common/arithmetic.h"
#include "cpu/common/cost_model.h"
#include "cpu/common/element.h"
#include "cpu/common/sample_chunks.h"
#include "cpu/common/sum_order.h"
#include "cpu/plan.h"

namespace torchconv::cpu {

struct WinogradGradWeightPlan {
  static constexpr int64_t kTile = 4, kHalo = 2, kTaps = 9, kPoints = 36;

  int64_t tile_rows, tile_columns;  // of an image
  Cut c, k;                         // channels of a block of the result
  int64_t blocks;
  SampleChunks chunks;
  int64_t pass_tiles;  // multiplied at once
  int64_t run_tiles;   // side by side, loaded at once
  struct {
    int64_t input, grad;  // from one point to the next
  } pitch;
  struct {
    int64_t input_patch, grad_patch, input, grad, products, sums;  // elements
  } size;

  int64_t block_size() const { return kTaps * c.size * k.size; }
  int64_t tables() const { return 2 * pass_tiles; }
  int64_t scratch_bytes() const {
    return (size.input_patch + size.grad_patch + size.input + size.grad + size.products +
            size.sums) *
               (int64_t)sizeof(float) +
           tables() * (int64_t)sizeof(int64_t);
  }
};

// Decides bits: by the shape of one image, the dtype and the layout alone.
inline const char* refuses_winograd_grad_weight(const Conv2dShape& shape) {
  using namespace sum_order;
  if (shape.dtype == Dtype::kFloat64) return "float64 is summed directly";
  if (shape.groups != 1) return "several groups";
  if (shape.r != 3 || shape.s != 3) return "the kernel is not 3x3";
  if (shape.stride_h != 1 || shape.stride_w != 1) return "stride";
  if (shape.dilation_h != 1 || shape.dilation_w != 1) return "dilation";
  if (smaller(shape.c, shape.k) < kWinogradLeastChannels) return "few channels";
  if (smaller(shape.p, shape.q) < 1) return "no output";
  return nullptr;
}

// Chunks of about so many tiles where the blocks of the result are too few to feed the threads.
inline SampleChunks winograd_chunks(int64_t blocks, int64_t tile_rows, int64_t tile_columns) {
  using namespace sum_order;
  if (blocks >= kBlocksWanted) return {};
  const int64_t tiles = tile_rows * tile_columns;
  SampleChunks chunks{};
  chunks.images = smaller(kMostChunkImages, ceil_div(kWinogradChunkTiles, tiles));
  chunks.wave = ceil_div(kBlocksWanted, blocks);
  chunks.parts = larger(1, smaller(tile_rows, smaller(chunks.wave, tiles / kWinogradChunkTiles)));
  return chunks;
}

inline WinogradGradWeightPlan make_winograd_grad_weight_plan(const Conv2dShape& shape) {
  using namespace sum_order;
  using Plan = WinogradGradWeightPlan;
  const int64_t lanes = block_lanes(shape.dtype);
  Plan plan{};
  plan.tile_rows = ceil_div(shape.p, Plan::kTile);
  plan.tile_columns = ceil_div(shape.q, Plan::kTile);
  const auto cut = [&](int64_t most, int64_t channels) {
    return Cut::of(round_up(Cut::into(ceil_div(channels, most), channels).size, lanes), channels);
  };
  plan.c = cut(cost::kWinogradInputs, shape.c);
  plan.k = cut(cost::kWinogradOutputs, shape.k);
  plan.blocks = plan.c.count * plan.k.count;
  plan.chunks = winograd_chunks(plan.blocks, plan.tile_rows, plan.tile_columns);
  plan.pass_tiles = kWinogradPassTiles;
  plan.run_tiles = smaller(smaller(plan.tile_columns, plan.pass_tiles), cost::kWinogradRunTiles);

  const int64_t columns = plan.run_tiles * Plan::kTile;
  plan.size.input_patch = (Plan::kTile + Plan::kHalo) * (columns + Plan::kHalo) * plan.c.size;
  plan.size.grad_patch = Plan::kTile * columns * plan.k.size;
  plan.pitch.input = odd_lines(plan.pass_tiles * plan.c.size, lanes);
  plan.pitch.grad = odd_lines(plan.pass_tiles * plan.k.size, lanes);
  plan.size.input = Plan::kPoints * plan.pitch.input;
  plan.size.grad = Plan::kPoints * plan.pitch.grad;
  plan.size.products = Plan::kPoints * plan.c.size * plan.k.size;
  plan.size.sums = plan.chunks.whole_batch() ? plan.block_size() : 0;
  return plan;
}

}  // namespace torchconv::cpu

// How grad_weight cuts a layer into jobs. A pure function of the per-image shape, dtype and layout:
// the batch size decides how many chunks of samples there are, never what a chunk is.
#pragma once

#include "cpu/channel_plan.h"

namespace torchconv::cpu {

struct GradWeightPlan {
  int64_t lanes;
  bool outputs_in_lanes;  // vectors along k, else along c
  // A block of the result: `wide` channels in lanes x `tall` channels as tile rows x all taps.
  int64_t wide, wide_blocks, tall, tall_blocks;
  int64_t blocks;      // over all groups
  int64_t block_size;  // elements of one block's sums
  // A chunk: `chunk_images` whole images, or the row axis of one image cut in `chunk_parts`. With
  // one chunk for the whole batch (chunk_images == 0) a job writes its block of the result itself.
  int64_t chunk_images, chunk_parts, wave;
  int64_t rows;  // output rows per pass
  // The input's band, or the input itself; the same for grad.
  bool input_in_place, grad_in_place;
  int64_t input_pitch, grad_pitch;
  int64_t row_skip, row_advance, column_skip, column_advance;
  int64_t band_rows, band_columns;
  int64_t input_size, grad_size, offsets_size;  // elements per thread

  int64_t chunks(int64_t n) const {
    return chunk_images ? ceil_div(n, chunk_images) * chunk_parts : 1;
  }
};

struct GradWeightDetails {
  Gather gather;
  GradWeightPlan plan;
};

constexpr int64_t kBlockBytes = 192 << 10;  // sums of one block
constexpr int64_t kPassPixels = 384;   // summed in registers before they are added to the block
constexpr double kChunkWork = 2e6;     // multiply-adds of a job of a chunk
constexpr int64_t kBlocksWanted = 16;  // fewer blocks of the result than this: chunks of samples

// g is the forward gather: source = input, destination = grad.
inline GradWeightPlan make_grad_weight_plan(const Gather& g, Dtype dtype) {
  const int64_t element = dtype == Dtype::kFloat64 ? 8 : 4;
  const bool half = dtype == Dtype::kBFloat16 || dtype == Dtype::kFloat16;
  GradWeightPlan z{};
  z.lanes = 64 / element;
  const int64_t c = g.src_channels, k = g.dst_channels, taps = g.taps();
  // Few channels leave lanes empty: take the side that fills more of them.
  const auto filled = [&](int64_t channels) {
    return (double)channels / (double)round_up(channels, z.lanes);
  };
  z.outputs_in_lanes = filled(k) > filled(c) || (c <= 4 && k > c);
  const int64_t lane_side = z.outputs_in_lanes ? k : c, row_side = z.outputs_in_lanes ? c : k;

  const int64_t budget = kBlockBytes / element / taps;
  const int64_t widest = taps == 1 ? 12 * z.lanes : 6 * z.lanes;
  int64_t wide = smaller(round_up(lane_side, z.lanes), widest);
  while (wide > z.lanes && wide * 8 > budget) wide -= z.lanes;
  int64_t tall = larger(1, smaller(row_side, budget / wide));
  if (tall > 8) tall -= tall % 8;
  z.wide_blocks = ceil_div(lane_side, wide);
  z.wide = round_up(ceil_div(lane_side, z.wide_blocks), z.lanes);
  z.wide_blocks = ceil_div(lane_side, z.wide);
  z.tall_blocks = ceil_div(row_side, tall);
  z.tall = ceil_div(row_side, z.tall_blocks);
  if (z.tall_blocks > 1) z.tall = round_up(z.tall, 8);
  z.tall_blocks = ceil_div(row_side, z.tall);
  z.blocks = g.groups * z.wide_blocks * z.tall_blocks;
  z.block_size = taps * z.tall * z.wide;

  const double work =
      (double)c * (double)k * g.groups * taps * g.rows.dst_size * g.columns.dst_size;
  if (z.blocks < kBlocksWanted) {
    const double job_work = work / (double)z.blocks + 1;
    z.chunk_images = smaller(64, (int64_t)(kChunkWork / job_work) + 1);
    const int64_t passes = larger(1, g.rows.dst_size * g.columns.dst_size / kPassPixels);
    z.wave = ceil_div(kBlocksWanted, z.blocks);
    z.chunk_parts = larger(1, smaller((int64_t)(job_work / kChunkWork), smaller(z.wave, passes)));
    z.chunk_parts = smaller(z.chunk_parts, g.rows.dst_size);
  }

  const auto inside = [](const Axis& a) {
    return a.src_low >= 0 && (a.longest - 1) * a.src_step + a.src_high < a.src_size;
  };
  const bool dense = g.layout == Layout::kChannelsLast && !half;
  z.input_in_place =
      dense && inside(g.rows) && inside(g.columns) && (z.outputs_in_lanes || c % z.lanes == 0);
  z.grad_in_place = dense && (!z.outputs_in_lanes || k % z.lanes == 0);
  const int64_t input_channels = z.outputs_in_lanes ? z.tall : z.wide;
  z.input_pitch = z.input_in_place ? c * g.groups : input_channels;
  z.grad_pitch = z.grad_in_place ? k * g.groups : (z.outputs_in_lanes ? z.wide : z.tall);
  z.row_skip = g.rows.kernel == 1 && !z.input_in_place ? g.rows.src_step : 1;
  z.row_advance = z.row_skip == 1 ? g.rows.src_step : 1;
  z.column_skip = g.columns.kernel == 1 && !z.input_in_place ? g.columns.src_step : 1;
  z.column_advance = z.column_skip == 1 ? g.columns.src_step : 1;

  const int64_t halo = g.rows.src_high - g.rows.src_low + 1, q = g.columns.dst_size;
  z.band_columns = (q - 1) * z.column_advance + g.columns.src_high - g.columns.src_low + 1;
  const auto band_rows = [&](int64_t rows) { return (rows - 1) * z.row_advance + halo; };
  const auto bytes = [&](int64_t rows) {
    return ((z.input_in_place ? 0 : band_rows(rows) * z.band_columns * z.input_pitch) +
            (z.grad_in_place ? 0 : rows * q * z.grad_pitch)) *
           element;
  };
  const int64_t most = ceil_div(g.rows.dst_size, larger(1, z.chunk_parts));
  z.rows = 1;
  while (z.rows < most && z.rows * q < kPassPixels && bytes(z.rows + 1) <= kBandBytes) ++z.rows;
  z.band_rows = band_rows(z.rows);
  z.input_size = z.input_in_place ? 0 : round_up(z.band_rows * z.band_columns * z.input_pitch, 16);
  z.grad_size = z.grad_in_place ? 0 : round_up(z.rows * q * z.grad_pitch, 16);
  z.offsets_size = z.rows * q;
  return z;
}

inline int64_t grad_weight_scratch_bytes(const GradWeightPlan& z, Dtype dtype) {
  const int64_t element = dtype == Dtype::kFloat64 ? 8 : 4;
  return (z.input_size + z.grad_size + z.block_size) * element +
         z.offsets_size * (int64_t)sizeof(int64_t);
}

// Sums of a wave of chunks, and the total.
inline int64_t grad_weight_shared_bytes(const GradWeightPlan& z, Dtype dtype) {
  const int64_t element = dtype == Dtype::kFloat64 ? 8 : 4;
  return z.chunk_images ? (z.wave + 1) * z.blocks * z.block_size * element : 0;
}

}  // namespace torchconv::cpu

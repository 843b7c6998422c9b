// How grad_weight cuts a layer into jobs. A pure function of the per-image shape, dtype and layout:
// the batch size decides how many chunks of samples there are, never what a chunk is.
#pragma once

#include "cpu/channel_plan.h"

namespace torchconv::cpu {

struct GradWeightPlan {
  int64_t lanes;
  int64_t merged;         // groups that are computed as one, of which only the diagonal is kept
  bool outputs_in_lanes;  // vectors along k, else along c
  // A block of the result: `wide` channels in lanes x `tall` channels as tile rows x all taps.
  int64_t wide, wide_blocks, tall, tall_blocks;
  int64_t blocks;      // over all groups
  int64_t block_size;  // elements of one block's sums
  // A chunk: `chunk_images` whole images, or the row axis of one image cut in `chunk_parts`. With
  // one chunk for the whole batch (chunk_images == 0) a job writes its block of the result itself.
  int64_t chunk_images, chunk_parts, wave;
  // A pass: `rows` output rows of one image, or `images` whole images. The operands of a pass as the
  // tiles read them: one with channels in the lanes, [slab][image][row][column][lane], the other
  // broadcast row by row, [image][row][column][channel] or, where grad's planes are contiguous,
  // [channel][pixel]; or either of them in place.
  // Groups of at most `sum_pixels` are summed in registers, then added to the block.
  int64_t rows, images, sum_pixels;
  bool planes, grad_in_place, input_in_place;
  int64_t tall_pitch;  // from pixel to pixel of the broadcast operand
  // The input's band has one section with all rows, or one for every tap row with the rows that it
  // reads: `sections`.
  int64_t sections, section_rows;
  int64_t row_skip, row_advance, column_skip, column_advance;
  int64_t band_rows, band_columns;
  bool skip_padding;  // some taps see padding only, and it repays to look for them
  int64_t slabs_size, tall_size, offsets_size;  // elements per thread

  int64_t chunks(int64_t n) const {
    return chunk_images ? ceil_div(n, chunk_images) * chunk_parts : 1;
  }
  bool lanes_in_place() const { return outputs_in_lanes ? grad_in_place : input_in_place; }
  bool rows_in_place() const { return outputs_in_lanes ? input_in_place : grad_in_place; }
};

constexpr int64_t kBlockBytes = 192 << 10;  // sums of one block
constexpr int64_t kPassPixels = 400;        // loaded at once
constexpr int64_t kGradWeightTables = 6;    // of one integer per pixel of a pass
constexpr int64_t kSkippingSums = 2048;     // of one tap
constexpr int64_t kSumPixels = 200;         // in contiguous tensors: 14 x 14 in one group
// Where each pixel of the broadcast operand is a cache line of its own.
constexpr int64_t kSumPixelsChannelsLast = 96;
constexpr double kChunkWork = 2e6;  // multiply-adds of a job of a chunk
constexpr int64_t kChunkPixels = 96;
constexpr int64_t kSumsKept = 400 << 10;  // bytes
// Pixels that far apart, or a multiple of it, meet so few sets of a cache that they are copied.
constexpr int64_t kFewSets = 512;      // bytes
constexpr int64_t kBlocksWanted = 16;  // fewer blocks of the result than this: chunks of samples

// Groups of few channels leave most lanes empty: several of them side by side fill a vector, and the
// products of channels of different groups cost nothing that the empty lanes would not.
inline int64_t merge_groups(Gather& g, Dtype dtype) {
  const int64_t lanes = dtype == Dtype::kFloat64 ? 8 : 16;
  const int64_t channels = larger(g.src_channels, g.dst_channels);
  int64_t merged = 1;
  // The sums of a vector of inputs and as many outputs must fit one block of the result.
  const bool fits = lanes * lanes * g.taps() * (64 / lanes) <= kBlockBytes;
  for (int64_t i = 2; fits && i * channels <= lanes; ++i) {
    if (g.groups % i == 0) merged = i;
  }
  g.groups /= merged, g.src_channels *= merged, g.dst_channels *= merged;
  return merged;
}

// g is the forward gather: source = input, destination = grad, groups merged.
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
  if (tall > 8 && tall < row_side) tall -= tall % 8;
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
    const int64_t image_pixels = g.rows.dst_size * g.columns.dst_size;
    // Sums that leave the caches between stages are written once for so many pixels at least.
    const bool large = z.blocks * z.block_size * element > kSumsKept;
    z.chunk_images = larger((int64_t)(kChunkWork / job_work) + 1,
                            large ? ceil_div(kChunkPixels, image_pixels) : 1);
    z.chunk_images = smaller(64, z.chunk_images);
    const int64_t passes = larger(1, image_pixels / kPassPixels);
    z.wave = ceil_div(kBlocksWanted, z.blocks);
    z.chunk_parts = larger(1, smaller((int64_t)(job_work / kChunkWork), smaller(z.wave, passes)));
    z.chunk_parts = smaller(z.chunk_parts, g.rows.dst_size);
  }

  z.planes = g.layout == Layout::kContiguous && !z.outputs_in_lanes;
  const bool padded = !g.rows.inside() || !g.columns.inside();
  // Whole vectors are read, never beyond a pixel.
  const auto pixels_in_place = [&](int64_t channels, bool in_lanes) {
    return g.layout == Layout::kChannelsLast && !half && g.groups * channels * element % kFewSets &&
           (!in_lanes || channels % z.lanes == 0);
  };
  z.grad_in_place = z.planes ? !half : pixels_in_place(k, z.outputs_in_lanes);
  z.input_in_place = taps == 1 && !padded && pixels_in_place(c, !z.outputs_in_lanes);
  // An odd number of cache lines spreads the pixels over the sets of a cache.
  z.tall_pitch = z.tall <= z.lanes ? z.tall : (ceil_div(z.tall, z.lanes) | 1) * z.lanes;
  // An axis with one tap needs only the positions that it reads. Where tap rows are far apart, each
  // of them is such an axis: the rows between them would be loaded for nothing.
  const int64_t halo = g.rows.src_high - g.rows.src_low + 1, q = g.columns.dst_size;
  z.sections = halo > kFarApart * g.rows.kernel ? g.rows.kernel : 1;
  const bool every_row = z.sections == 1 && g.rows.kernel > 1;
  z.row_skip = every_row ? 1 : g.rows.src_step;
  z.row_advance = every_row ? g.rows.src_step : 1;
  z.column_skip = g.columns.kernel == 1 ? g.columns.src_step : 1;
  z.column_advance = g.columns.kernel == 1 ? 1 : g.columns.src_step;

  z.band_columns = (q - 1) * z.column_advance + g.columns.src_high - g.columns.src_low + 1;
  const auto section_rows = [&](int64_t rows) {
    return (rows - 1) * z.row_advance + (every_row ? halo : 1);
  };
  const auto band_rows = [&](int64_t rows) { return z.sections * section_rows(rows); };
  const int64_t slab_lanes = round_up(z.wide, kMaxPanel * z.lanes);
  const auto slabs = [&](int64_t rows) {
    if (z.lanes_in_place()) return int64_t{0};
    return slab_lanes * (z.outputs_in_lanes ? rows * q : band_rows(rows) * z.band_columns);
  };
  const auto tall_side = [&](int64_t rows) {
    if (z.rows_in_place()) return int64_t{0};
    return z.tall_pitch * (z.outputs_in_lanes ? band_rows(rows) * z.band_columns : rows * q);
  };
  const auto bytes = [&](int64_t rows) { return (slabs(rows) + tall_side(rows)) * element; };
  const int64_t most = ceil_div(g.rows.dst_size, larger(1, z.chunk_parts));
  z.sum_pixels = g.layout == Layout::kContiguous ? kSumPixels : kSumPixelsChannelsLast;
  z.rows = 1, z.images = 1;
  while (z.rows < most && z.rows * q < kPassPixels && bytes(z.rows + 1) <= kBandBytes) ++z.rows;
  const int64_t most_images = z.chunk_images ? z.chunk_images : kPassPixels;
  while (z.rows == g.rows.dst_size && z.images < most_images &&
         (z.images + 1) * z.rows * q <= kPassPixels &&
         (z.images + 1) * bytes(z.rows) <= kBandBytes) {
    ++z.images;
  }
  z.section_rows = section_rows(z.rows);
  z.band_rows = band_rows(z.rows);
  z.skip_padding = padded && z.tall * z.wide >= kSkippingSums;
  z.slabs_size = z.images * slabs(z.rows);
  z.tall_size = round_up(z.images * tall_side(z.rows), 16);
  z.offsets_size = z.images * z.rows * q;
  return z;
}

inline int64_t grad_weight_scratch_bytes(const GradWeightPlan& z, Dtype dtype) {
  const int64_t element = dtype == Dtype::kFloat64 ? 8 : 4;
  return (z.slabs_size + z.tall_size + z.block_size) * element +
         kGradWeightTables * z.offsets_size * (int64_t)sizeof(int64_t);
}

// Sums of a wave of chunks, and the total.
inline int64_t grad_weight_shared_bytes(const GradWeightPlan& z, Dtype dtype) {
  const int64_t element = dtype == Dtype::kFloat64 ? 8 : 4;
  return z.chunk_images ? (z.wave + 1) * z.blocks * z.block_size * element : 0;
}

}  // namespace torchconv::cpu

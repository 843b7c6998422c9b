// How the weight gradient of depthwise cuts a layer into jobs. A pure function of the per-image
// shape, dtype and layout: the batch size decides how many chunks of samples there are, never what
// a chunk is.
#pragma once

#include "cpu/depthwise_plan.h"
#include "cpu/grad_weight_plan.h"

namespace torchconv::cpu {

struct DepthwiseGradPlan {
  int64_t lanes;  // 64 bytes on every level: each lane is a chain of sums of its own
  bool channel_lanes;
  int64_t blocks, job_blocks;
  int64_t block_size;  // sums of one block: [r, s][lanes]
  // Rows of grad that are summed in registers before they are added to the block, and how often.
  int64_t rows, row_parts;
  // A chunk: `chunk_images` whole images, or the row parts of one image cut in `chunk_parts`. With
  // one chunk for the whole batch (chunk_images == 0) a job writes its part of the result itself.
  int64_t chunk_images, chunk_parts, wave;
  bool windows;  // channels in the lanes and neighbouring taps: both images in place or copied
  DepthwiseBand band;
  bool grad_in_place;
  int64_t grad_row, grad_size;  // pitch of a row, elements per thread

  // Rows of the source that some rows of grad read.
  static void source_rows(const Gather& g, int64_t row_begin, int64_t row_end, int64_t& low,
                          int64_t& high) {
    low = larger(0, smaller(g.rows.src_size, row_begin * g.rows.src_step + g.rows.src_low));
    high = smaller(g.rows.src_size, (row_end - 1) * g.rows.src_step + g.rows.src_high + 1);
    high = larger(low, high);
  }

  int64_t chunks(int64_t n) const {
    return chunk_images ? ceil_div(n, chunk_images) * chunk_parts : 1;
  }
};

constexpr int64_t kShortRow = 32;
constexpr double kDepthwiseChunkWork = 1e6;   // multiply-adds of a chunk
constexpr double kDepthwiseBlockWork = 20e3;  // multiply-adds of a job in one image, at least

// g is the forward gather: source = input, destination = grad.
inline DepthwiseGradPlan make_depthwise_grad_plan(const Gather& g, Dtype dtype) {
  const int64_t element = depthwise_element(dtype), taps = g.taps(), q = g.columns.dst_size;
  const int64_t channels = g.groups * g.dst_channels;
  DepthwiseGradPlan z{};
  z.lanes = 64 / element;
  const int64_t columns = g.columns.kernel;
  z.windows = g.dst_channels == 1 && g.columns.src_step <= 2 &&
              g.columns.src_high - g.columns.src_low == columns - 1 &&
              (columns == 3 || columns == 5 || columns == 7);
  // Windows load each operand once, which repays transposing short rows.
  z.channel_lanes = depthwise_channel_lanes(g, z.lanes) ||
                    (z.windows && g.layout == Layout::kContiguous && q <= kShortRow &&
                     filled_lanes(channels, z.lanes) >= filled_lanes(q, z.lanes));
  z.windows &= z.channel_lanes;
  z.blocks = z.channel_lanes ? ceil_div(channels, z.lanes) : channels;
  z.block_size = taps * z.lanes;

  z.grad_in_place = !is_half(dtype) &&
                    (z.channel_lanes ? g.layout == Layout::kChannelsLast && channels % z.lanes == 0
                                     : g.layout == Layout::kContiguous || channels == 1);
  z.grad_row = z.grad_in_place   ? q * (z.channel_lanes ? channels : 1)
               : z.channel_lanes ? q * z.lanes
                                 : round_up(q, z.lanes);
  z.grad_in_place &= !z.windows;
  const auto band = [&](int64_t rows) {
    DepthwiseBand b = make_depthwise_band(g, z.channel_lanes, 1, rows, z.lanes);
    if (z.windows) {
      const int64_t reach = (rows - 1) * g.rows.src_step + g.rows.src_high - g.rows.src_low + 1;
      b.size = smaller(g.rows.src_size, reach) * g.columns.src_size * z.lanes;
    }
    return b;
  };
  const auto grad_size = [&](int64_t rows) { return z.grad_in_place ? 0 : rows * z.grad_row; };
  const int64_t budget = z.channel_lanes ? kChannelBandBytes : kPixelBandBytes;
  const int64_t halo = g.rows.src_high - g.rows.src_low;
  z.rows = 1;
  while (z.rows < g.rows.dst_size) {
    const int64_t bytes = (band(z.rows + 1).size + grad_size(z.rows + 1)) * element;
    if (bytes > budget && (z.rows >= larger(halo, kDepthwiseRows) || bytes > 2 * kBandBytes)) break;
    ++z.rows;
  }
  z.row_parts = ceil_div(g.rows.dst_size, z.rows);
  z.rows = ceil_div(g.rows.dst_size, z.row_parts);
  z.band = band(z.rows);
  z.grad_size = round_up(grad_size(z.rows), 16);

  const double block_work = (double)taps * g.rows.dst_size * q * (z.channel_lanes ? z.lanes : 1);
  z.job_blocks =
      smaller(ceil_div(z.blocks, kBlocksWanted), (int64_t)(kDepthwiseBlockWork / block_work) + 1);
  if (z.blocks < kBlocksWanted) {
    const double work = block_work * z.blocks;
    // Blocks in place lie side by side: read row by row, they are one stream of memory.
    if (z.windows && g.layout == Layout::kChannelsLast) z.job_blocks = z.blocks;
    z.chunk_images = work >= kDepthwiseChunkWork ? 1 : (int64_t)(kDepthwiseChunkWork / work) + 1;
    z.chunk_images = smaller(z.chunk_images, 64);
    const double part_work = kDepthwiseChunkWork * (z.job_blocks > 1 ? 0.5 : 2);
    z.chunk_parts = smaller(z.row_parts, larger(1, (int64_t)(work / part_work)));
    z.wave = ceil_div(kBlocksWanted, ceil_div(z.blocks, z.job_blocks));
  }
  return z;
}

inline int64_t depthwise_grad_scratch_bytes(const DepthwiseGradPlan& z, const Gather& g,
                                            Dtype dtype) {
  const int64_t sums = z.chunk_images ? 0 : z.job_blocks * z.block_size;
  return (z.band.size + z.grad_size + sums) * depthwise_element(dtype) +
         round_up(g.columns.kernel, 8) * (int64_t)sizeof(int64_t);
}

// Sums of a wave of chunks, and the total.
inline int64_t depthwise_grad_shared_bytes(const DepthwiseGradPlan& z, Dtype dtype) {
  return z.chunk_images ? (z.wave + 1) * z.blocks * z.block_size * depthwise_element(dtype) : 0;
}

}  // namespace torchconv::cpu

// How depthwise cuts a layer into jobs. A pure function of the per-image shape, dtype and layout.
//
// Two ways to fill a vector. Pixel lanes: neighbours of a row of one plane, weights broadcast. Channel
// lanes: neighbouring channels of one pixel, for channels_last and for maps too narrow to fill a vector.
// A block is what one load of the band serves: a plane, or a vector of channels.
#pragma once

#include "cpu/channel_plan.h"

namespace torchconv::cpu {

constexpr int64_t kDepthwiseRows = 4;              // destination rows of a register tile
constexpr double kDepthwiseWork = 250e3;           // multiply-adds of a job, at least
constexpr int64_t kPixelBandBytes = 24 << 10;      // stays in the L1 cache
constexpr int64_t kChannelBandBytes = 192 << 10;   // stays in the L2 cache

// The source of one block in the compute type, padding as zeros.
//
//     pixel lanes     [plane][row][column phase][length]   columns of one stride phase are neighbours
//     channel lanes   [plane][row][column][lanes]
struct DepthwiseBand {
  int64_t planes;                 // source planes behind a destination plane
  int64_t row_skip, row_advance;  // source rows between band rows; band rows between destination rows
  int64_t column_skip;            // source columns between band columns of one phase
  int64_t phases, length;
  int64_t pixel_step;             // elements from one destination column to the next
  int64_t row_pitch, plane_pitch, size;

  // Where the source column src_low + at lies in a band row.
  int64_t column(int64_t at, int64_t lanes) const {
    return phases == 1 ? at / column_skip * lanes : at % phases * length + at / phases;
  }
};

struct DepthwisePlan {
  int64_t lanes;       // 64 bytes on every level
  bool channel_lanes;
  int64_t multiplier;  // output channels of an input channel
  int64_t blocks;      // of one image
  int64_t rows, row_jobs, images, job_blocks;
  DepthwiseBand band;
  int64_t weight_size, sums_size, offsets_size;  // elements per thread
  int64_t packed_size;                           // elements per call, channel lanes only
};

inline int64_t depthwise_element(Dtype dtype) { return dtype == Dtype::kFloat64 ? 8 : 4; }

inline bool is_half(Dtype dtype) { return dtype == Dtype::kBFloat16 || dtype == Dtype::kFloat16; }

// Lanes that hold something when `count` things go into vectors.
inline double filled_lanes(int64_t count, int64_t lanes) {
  return (double)count / (double)round_up(count, lanes);
}

// Transposing a narrow map to channel lanes costs, so the lanes gained must be worth it.
inline bool depthwise_channel_lanes(const Gather& g, int64_t channels, int64_t lanes) {
  if (g.layout == Layout::kChannelsLast) return true;
  if (g.src_channels > 1 || g.dst_channels > 1) return false;
  return filled_lanes(channels, lanes) > 1.6 * filled_lanes(g.columns.longest, lanes);
}

// The band of `rows` destination rows of every phase.
inline DepthwiseBand make_depthwise_band(const Gather& g, bool channel_lanes, int64_t planes, int64_t rows,
                                         int64_t lanes) {
  DepthwiseBand b{};
  b.planes = planes;
  // An axis with one tap needs only the positions that it reads.
  b.row_skip = g.rows.kernel == 1 ? g.rows.src_step : 1;
  b.row_advance = g.rows.kernel == 1 ? 1 : g.rows.src_step;
  const int64_t band_rows = (rows - 1) * b.row_advance + g.rows.src_high - g.rows.src_low + 1;
  const int64_t step = g.columns.src_step, span = g.columns.src_high - g.columns.src_low;
  if (channel_lanes) {
    b.column_skip = g.columns.kernel == 1 ? step : 1;
    b.phases = 1;
    b.length = (g.columns.longest - 1) * (g.columns.kernel == 1 ? 1 : step) + span + 1;
    b.pixel_step = (g.columns.kernel == 1 ? 1 : step) * lanes;
    b.row_pitch = b.length * lanes;
  } else {
    b.column_skip = step;
    b.phases = g.columns.kernel == 1 ? 1 : step;
    b.length = round_up(g.columns.longest, lanes) + span / step;
    b.pixel_step = 1;
    b.row_pitch = b.phases * b.length;
  }
  b.plane_pitch = band_rows * b.row_pitch;
  b.size = round_up(b.planes * b.plane_pitch, 16);
  return b;
}

inline DepthwisePlan make_depthwise_plan(const Gather& g, Dtype dtype) {
  const int64_t element = depthwise_element(dtype);
  const int64_t channels = g.groups * g.dst_channels;
  DepthwisePlan z{};
  z.lanes = 64 / element;
  z.channel_lanes = depthwise_channel_lanes(g, channels, z.lanes);
  z.multiplier = larger(g.src_channels, g.dst_channels);
  z.blocks = z.channel_lanes ? ceil_div(channels, z.lanes) : channels;

  const int64_t budget = z.channel_lanes ? kChannelBandBytes : kPixelBandBytes;
  const int64_t halo = g.rows.src_high - g.rows.src_low;
  const auto band = [&](int64_t rows) {
    return make_depthwise_band(g, z.channel_lanes, g.src_channels, rows, z.lanes);
  };
  z.rows = 1;
  while (z.rows < g.rows.longest) {
    const int64_t bytes = band(z.rows + 1).size * element;
    // A large kernel repays a large band: few rows would load their halo again and again.
    if (bytes > budget && (z.rows >= larger(halo, kDepthwiseRows) || bytes > 2 * kBandBytes)) break;
    ++z.rows;
  }
  z.row_jobs = ceil_div(g.rows.longest, z.rows);
  z.rows = ceil_div(g.rows.longest, z.row_jobs);
  z.band = band(z.rows);

  const double block_work = (double)z.rows * g.columns.longest * g.src_channels * g.taps() *
                            (z.channel_lanes ? z.lanes : 1);
  z.job_blocks = smaller(z.blocks, larger(1, (int64_t)(kDepthwiseWork / block_work)));
  z.job_blocks = ceil_div(z.blocks, ceil_div(z.blocks, z.job_blocks));
  z.images = 1;
  if (z.row_jobs == 1 && z.job_blocks == z.blocks) {
    z.images = larger(1, smaller(64, (int64_t)(kDepthwiseWork / (block_work * z.blocks))));
  }

  const int64_t row_sums = z.channel_lanes ? g.columns.dst_size * z.lanes
                                           : g.columns.phases * round_up(g.columns.longest, z.lanes);
  const bool whole = z.channel_lanes && g.layout == Layout::kContiguous;
  z.sums_size = row_sums * (whole ? z.rows * g.rows.dst_step : kDepthwiseRows);
  z.weight_size = z.channel_lanes ? 0 : round_up(g.src_channels * g.taps(), 16);
  z.offsets_size = round_up(g.columns.phases * g.columns.kernel, 8);
  z.packed_size = z.channel_lanes ? z.blocks * g.src_channels * g.taps() * z.lanes : 0;
  return z;
}

inline int64_t depthwise_scratch_bytes(const DepthwisePlan& z, Dtype dtype) {
  return (z.band.size + z.weight_size + z.sums_size) * depthwise_element(dtype) +
         z.offsets_size * (int64_t)sizeof(int64_t);
}

}  // namespace torchconv::cpu

// How depthwise cuts a layer into jobs. A pure function of the per-image shape, dtype and layout.
//
// Two ways to fill a vector. Pixel lanes: neighbours of a row of one plane, weights broadcast; also
// for the few channels of an image in channels_last, whose planes are taken apart while loading.
// Channel lanes: neighbouring channels of one pixel, for channels_last and for maps too narrow to
// fill a vector. A block is what one load of the band serves: a plane, or a vector of channels.
#pragma once

#include "cpu/channel_plan.h"

namespace torchconv::cpu {

constexpr int64_t kDepthwiseRows = 4;             // destination rows of a register tile
constexpr double kDepthwiseWork = 250e3;          // multiply-adds of a job, at least
constexpr int64_t kPixelBandBytes = 24 << 10;     // stays in the L1 cache
constexpr int64_t kChannelBandBytes = 192 << 10;  // stays in the L2 cache
constexpr int64_t kInPlaceRows = 8;               // and
constexpr int64_t kInPlaceBlocks = 16;            // at least, of a job
constexpr int64_t kInPlaceKernel = 7;             // larger ones see padding almost everywhere
constexpr int64_t kPackedBytes = 64 << 10;        // of weights, one job
constexpr int64_t kGroupWeights = 8
                                  << 10;  // bytes of weights beside a tile's source in the L1 cache

// Fewer channels than these would leave most lanes empty in channels_last.
constexpr int64_t kFewChannels = 4;

// Runs are compiled for types whose 64 bytes hold this many lanes, and repay a transposed plane where
// this part of the lanes holds channels.
constexpr int64_t kRunLanes = 16;
constexpr double kFilledRuns = 0.7;

// Small kernels with pixels in the lanes are computed in strips; their weights have rows of
// kStripPitch.
constexpr int64_t kStripRows = 7, kStripPitch = 8;

// The source of one block in the compute type, padding as zeros.
//
//     pixel lanes     [plane][row][column phase][length]  columns of one phase are neighbours
//     channel lanes   [plane][row][column][lanes]
struct DepthwiseBand {
  int64_t planes;  // source planes behind a destination plane
  int64_t pixel;   // pixel lanes: elements from a pixel of a source plane to the next
  int64_t row_skip,
      row_advance;      // source rows between band rows; band rows between destination rows
  int64_t column_skip;  // source columns between band columns of one phase
  int64_t phases, length;
  int64_t pixel_step;  // elements from one destination column to the next
  int64_t row_pitch, plane_pitch, size;

  // Where the source column src_low + at lies in a band row.
  int64_t column(int64_t at, int64_t lanes) const {
    return phases == 1 ? at / column_skip * lanes : at % phases * length + at / phases;
  }
};

struct DepthwisePlan {
  int64_t lanes;  // 64 bytes on every level
  bool channel_lanes;
  bool in_place;  // where all weights are finite: tiles skip padding and read the source itself
  int64_t group_blocks;  // in place: blocks that one row of tiles serves before the next ones
  int64_t blocks;        // of one image
  int64_t rows, row_jobs, images, job_blocks;
  DepthwiseBand band;
  bool strips;
  bool dense;            // where all weights are finite: the band is the source without padding
  int64_t dense_blocks;  // that it holds at once
  int64_t weight_row, weight_step, weight_plane;  // pitches of the packed weight
  int64_t bias_size, sums_size, offsets_size;     // elements per thread
  int64_t packed_size;  // elements per call: blocks of weights, then a flag for each
  int64_t pack_blocks;  // of one job

  int64_t weight_block() const { return packed_size / blocks; }
};

inline int64_t depthwise_element(Dtype dtype) {
  return dtype == Dtype::kFloat64 ? 8 : 4;
}

inline bool is_half(Dtype dtype) {
  return dtype == Dtype::kBFloat16 || dtype == Dtype::kFloat16;
}

// Lanes that hold something when `count` things go into vectors.
inline double filled_lanes(int64_t count, int64_t lanes) {
  return (double)count / (double)round_up(count, lanes);
}

// Transposing a narrow map to channel lanes costs, so the lanes gained must be worth it.
inline bool depthwise_channel_lanes(const Gather& g, int64_t lanes) {
  const int64_t channels = g.groups * larger(g.src_channels, g.dst_channels);
  if (g.layout == Layout::kChannelsLast) {
    return channels > kFewChannels || channels > g.columns.longest;
  }
  if (g.src_channels > 1 || g.dst_channels > 1) return false;
  // Runs do both phases of stride two at once; in a plane its columns have to be taken apart.
  const auto halved = [](const Axis& a) {
    return a.stride == 2 && a.dilation == 1 && (a.kernel == 3 || a.kernel == 5);
  };
  if (lanes == kRunLanes && halved(g.rows) && halved(g.columns) &&
      filled_lanes(channels, lanes) >= kFilledRuns) {
    return true;
  }
  return filled_lanes(channels, lanes) > 1.6 * filled_lanes(g.columns.longest, lanes);
}

// The band of `rows` destination rows of every phase.
inline DepthwiseBand make_depthwise_band(const Gather& g, bool channel_lanes, int64_t planes,
                                         int64_t rows, int64_t lanes) {
  DepthwiseBand b{};
  b.planes = planes;
  b.pixel = g.layout == Layout::kChannelsLast ? g.groups * g.src_channels : 1;
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
  b.size = round_up(b.planes * b.plane_pitch, 16) + 16;  // rows are written in whole vectors
  return b;
}

inline DepthwisePlan make_depthwise_plan(const Gather& g, Dtype dtype) {
  const int64_t element = depthwise_element(dtype);
  const int64_t channels = g.groups * g.dst_channels;
  DepthwisePlan z{};
  z.lanes = 64 / element;
  z.channel_lanes = depthwise_channel_lanes(g, z.lanes);
  z.strips = !z.channel_lanes && g.src_channels == 1 && g.columns.src_step == 1 &&
             g.rows.src_step == 1 && g.rows.kernel <= kStripRows && g.columns.kernel <= kStripPitch;
  const bool channels_last = g.layout == Layout::kChannelsLast;
  const bool one_plane = !channels_last || g.groups * g.src_channels == 1;
  const bool small_kernel = g.rows.kernel <= kInPlaceKernel && g.columns.kernel <= kInPlaceKernel;
  z.in_place = (z.strips && one_plane && !is_half(dtype)) ||
               (z.channel_lanes && channels_last && g.src_channels == 1 && g.dst_channels == 1 &&
                channels % z.lanes == 0 &&  // tiles load whole vectors, never beyond a pixel
                small_kernel);
  z.group_blocks = larger(1, kGroupWeights / (g.taps() * 64));
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
  // A job that takes whole pixels, or long parts of them, reads memory as it lies there; one of few
  // blocks and many rows would skip from pixel to pixel, into few sets of the caches.
  const bool in_pixels = z.in_place && z.channel_lanes;
  if (in_pixels) {
    const double row_work = (double)g.columns.longest * g.taps() * (double)channels;
    z.rows = smaller(z.rows, larger(kInPlaceRows, (int64_t)(kDepthwiseWork / row_work)));
  }
  z.row_jobs = ceil_div(g.rows.longest, z.rows);
  z.rows = ceil_div(g.rows.longest, z.row_jobs);
  z.band = band(z.rows);
  z.dense = g.src_channels == 1 && g.dst_channels == 1 && g.layout == Layout::kContiguous &&
            (z.channel_lanes
                 ? small_kernel && z.band.row_skip == 1 && z.band.column_skip == 1
                 : z.strips && is_half(dtype) && g.columns.dst_step == 1 && g.rows.dst_step == 1);
  z.dense_blocks = 1;
  if (z.dense) {
    const int64_t band_rows = smaller(z.band.plane_pitch / z.band.row_pitch, g.rows.src_size);
    int64_t source = band_rows * g.columns.src_size * (z.channel_lanes ? z.lanes : 1);
    if (z.row_jobs == 1 && !z.channel_lanes) {
      source = g.rows.src_size * g.columns.src_size;
      const int64_t both = source + g.rows.dst_size * g.columns.dst_size;
      z.dense_blocks = larger(1, smaller(z.blocks, kPixelBandBytes / (both * element)));
    }
    z.band.size = larger(z.band.size, round_up(z.dense_blocks * source, 16));
  }

  const double block_work = (double)z.rows * g.columns.longest * g.src_channels * g.taps() *
                            (z.channel_lanes ? z.lanes : 1);
  z.job_blocks = smaller(z.blocks, larger(1, (int64_t)(kDepthwiseWork / block_work)));
  if (in_pixels) z.job_blocks = smaller(z.blocks, larger(z.job_blocks, kInPlaceBlocks));
  // Planes of channels_last share their cache lines: one job writes them all.
  if (channels_last && !z.channel_lanes) z.job_blocks = z.blocks;
  z.job_blocks = ceil_div(z.blocks, ceil_div(z.blocks, z.job_blocks));
  z.images = 1;
  if (z.row_jobs == 1 && z.job_blocks == z.blocks) {
    z.images = larger(1, smaller(64, (int64_t)(kDepthwiseWork / (block_work * z.blocks))));
  }

  z.weight_step = z.channel_lanes ? z.lanes : 1;
  z.weight_row = z.strips ? kStripPitch : g.columns.kernel * z.weight_step;
  z.weight_plane = g.rows.kernel * z.weight_row;
  z.packed_size = z.blocks * g.src_channels * z.weight_plane;
  z.pack_blocks = larger(1, kPackedBytes / (g.src_channels * z.weight_plane * element));

  const int64_t row_sums = z.channel_lanes
                               ? g.columns.dst_size * z.lanes
                               : g.columns.phases * round_up(g.columns.longest, z.lanes);
  const bool whole = z.channel_lanes && g.layout == Layout::kContiguous;
  z.sums_size = row_sums * (whole ? z.rows * g.rows.dst_step : larger(z.rows, kDepthwiseRows));
  if (z.dense && !z.channel_lanes) {
    z.sums_size = larger(z.sums_size, z.dense_blocks * z.rows * g.columns.dst_size);
  }
  z.bias_size = round_up(z.channel_lanes ? z.job_blocks * z.lanes : z.job_blocks, 16);
  z.offsets_size = round_up(g.columns.phases * g.columns.kernel, 8);
  return z;
}

inline int64_t depthwise_scratch_bytes(const DepthwisePlan& z, Dtype dtype) {
  return (z.band.size + z.bias_size + z.sums_size) * depthwise_element(dtype) +
         z.offsets_size * (int64_t)sizeof(int64_t);
}

}  // namespace torchconv::cpu

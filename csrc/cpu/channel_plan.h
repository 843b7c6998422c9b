// How channel_lanes cuts a layer into jobs. A pure function of the per-image shape, dtype and
// layout.
#pragma once

#include "cpu/gather.h"

namespace torchconv::cpu {

constexpr int64_t kScratchLimit = 16 << 20;  // bytes per thread, for every algorithm

struct ChannelPlan {
  // Destination channels of a group: `vectors` blocks of lanes. Jobs share those of one image among
  // them, as `pieces`, each of which is cut into panels of at most three.
  int64_t lanes, vectors, panels, pieces;
  // Source channels are summed in `chunks` of `chunk` channels.
  int64_t chunk, chunks;
  // A job covers `rows` positions of the row axis of `images` images.
  int64_t rows, row_jobs, images;
  // The band: source rows of a job as [row][column][channel], or the source itself.
  bool in_place;
  // The band has one section with all rows, or one for every tap row with the rows that it reads.
  int64_t sections, section_rows;
  int64_t row_skip, row_advance, column_skip, column_advance;
  int64_t band_rows, band_columns, image_pitch;
  bool padded;         // some taps see padding only
  bool across_images;  // tiles of one pixel of several images, where a job has so many
  int64_t band_size, offsets_size, sums_size;  // elements per thread
  // Weights are packed once for all jobs, or by each job, a chunk of a slab just before it is used.
  bool pack_in_job;
  int64_t slab_size;    // elements per thread
  int64_t packed_size;  // elements per call

  int64_t piece_panels() const { return panels / pieces; }
  int64_t panel_begin(int64_t panel) const {
    const int64_t piece = panel / piece_panels(), begin = piece * vectors / pieces;
    const int64_t count = (piece + 1) * vectors / pieces - begin;
    return begin + panel % piece_panels() * count / piece_panels();
  }
};

// Multiply-adds of one pass over a slab of weights, which stays in the L2 cache: 800 x 16 floats,
// what AVX2 takes at once, or 800 x 48 of AVX-512. Measured on AVX2: fewer cost more passes over the
// sums than a slab in the L1 cache saves.
constexpr int64_t kChunkDepth = 800;
constexpr int64_t kMaxPanel = 3;     // blocks, kMaxBlocks of the micro-kernel
constexpr int64_t kJobPixels = 512;  // enough reuse of a weight panel
constexpr int64_t kBandBytes = 384 << 10;
// A job that uses weights for that many pixels may pack them itself; that is faster where they do not
// stay in the cache from one stage to the next.
constexpr int64_t kPackingPixels = 256;
constexpr int64_t kPackedKept = 1 << 20;  // bytes
constexpr int64_t kFarApart = 4;          // rows from tap to tap
constexpr int64_t kTileImages = 4;        // fewer do not hide the latency of an fma
constexpr int64_t kJobsPerImage = 8;      // wanted, so that a single image feeds several threads

inline ChannelPlan make_channel_plan(const Gather& g, Dtype dtype) {
  const int64_t element = dtype == Dtype::kFloat64 ? 8 : 4;
  ChannelPlan z{};
  z.lanes = 64 / element;
  z.vectors = ceil_div(g.dst_channels, z.lanes);
  z.chunks = ceil_div(g.src_channels, larger(1, kChunkDepth / g.taps()));
  z.chunk = ceil_div(g.src_channels, z.chunks);
  z.chunk = round_up(z.chunk, g.block);
  z.chunks = ceil_div(g.src_channels, z.chunk);

  z.in_place = g.layout == Layout::kChannelsLast &&
               (dtype == Dtype::kFloat32 || dtype == Dtype::kFloat64) && g.rows.inside() &&
               g.columns.inside();
  // An axis with one tap needs only the positions that it reads. Where tap rows are far apart, each
  // of them is such an axis: the rows between them would be loaded for nothing.
  const int64_t halo = g.rows.src_high - g.rows.src_low + 1;
  const bool apart = !z.in_place && g.rows.phases == 1 && halo > kFarApart * g.rows.kernel;
  z.sections = apart ? g.rows.kernel : 1;
  const bool every_row = z.in_place || (!apart && g.rows.kernel > 1);
  z.row_skip = every_row ? 1 : g.rows.src_step;
  z.row_advance = every_row ? g.rows.src_step : 1;
  z.column_skip = g.columns.kernel == 1 && !z.in_place ? g.columns.src_step : 1;
  z.column_advance = z.column_skip == 1 ? g.columns.src_step : 1;
  z.band_columns =
      (g.columns.longest - 1) * z.column_advance + g.columns.src_high - g.columns.src_low + 1;

  const int64_t pixels_per_row = g.columns.longest * g.phases();
  const auto section_rows = [&](int64_t rows) {
    return (rows - 1) * z.row_advance + (every_row ? halo : 1);
  };
  const auto band_rows = [&](int64_t rows) { return z.sections * section_rows(rows); };
  // An odd number of cache lines from image to image spreads them over the sets of a cache.
  const auto image_pitch = [&](int64_t rows) {
    return (ceil_div(band_rows(rows) * z.band_columns * z.chunk, z.lanes) | 1) * z.lanes;
  };
  const auto band_bytes = [&](int64_t rows, int64_t images) {
    return z.in_place ? 0 : images * image_pitch(rows) * element;
  };
  z.rows = 1;
  while (z.rows < g.rows.longest &&
         (z.rows * pixels_per_row < kJobPixels || (!apart && z.rows * z.row_advance < halo)) &&
         z.rows * pixels_per_row < 4 * kJobPixels && band_bytes(z.rows + 1, 1) <= kBandBytes) {
    ++z.rows;
  }
  z.row_jobs = ceil_div(g.rows.longest, z.rows);
  z.rows = ceil_div(g.rows.longest, z.row_jobs);
  z.images = 1;
  while (z.row_jobs == 1 && z.images < 16 &&
         (z.images + 1) * z.rows * pixels_per_row <= kJobPixels &&
         band_bytes(z.rows, z.images + 1) <= kBandBytes) {
    ++z.images;
  }
  z.pieces = power_of_two(
      smaller(ceil_div(z.vectors, kMaxPanel), ceil_div(kJobsPerImage, z.row_jobs * g.groups)));
  const int64_t most_vectors = ceil_div(z.vectors, z.pieces);
  z.panels = z.pieces * ceil_div(most_vectors, kMaxPanel);

  z.section_rows = section_rows(z.rows);
  z.band_rows = band_rows(z.rows);
  z.image_pitch = image_pitch(z.rows);
  z.padded = !g.rows.inside() || !g.columns.inside();
  z.across_images = z.images >= kTileImages && (z.padded || g.columns.longest < kTileImages);
  z.band_size = band_bytes(z.rows, z.images) / element;
  z.offsets_size = z.chunk * g.taps();
  const int64_t row_sums = g.columns.longest * z.lanes, all_rows = z.rows * z.images;
  z.sums_size = row_sums * (z.chunks > 1      ? all_rows * g.phases() * most_vectors
                            : z.across_images ? all_rows * kMaxPanel
                                              : kMaxPanel);
  z.packed_size = g.groups * z.vectors * z.lanes * g.src_channels * g.taps();
  z.pack_in_job = z.row_jobs == 1 && z.packed_size * element > kPackedKept &&
                  z.images * z.rows * pixels_per_row >= kPackingPixels;
  z.slab_size = z.pack_in_job ? kMaxPanel * z.lanes * z.chunk * g.taps() : 0;
  return z;
}

inline int64_t channel_scratch_bytes(const ChannelPlan& z, Dtype dtype) {
  const int64_t element = dtype == Dtype::kFloat64 ? 8 : 4;
  return (z.band_size + z.sums_size + z.slab_size) * element +
         z.offsets_size * (int64_t)sizeof(int64_t);
}

}  // namespace torchconv::cpu

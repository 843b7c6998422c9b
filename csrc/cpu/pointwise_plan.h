// How pointwise cuts a layer into jobs. A pure function of the per-image shape, dtype and layout.
#pragma once

#include "cpu/channel_plan.h"

namespace torchconv::cpu {

constexpr int64_t kPieceChannels = 16;

struct PointwisePlan {
  int64_t lanes;
  // A job covers `rows` position rows of `images` images and one of `pieces` parts of a group's
  // destination channels, which it takes in `strips`. Where the plane is one row, `flat`, that is
  // cut into `rows` units of 48 floats.
  bool flat;
  int64_t images, rows, row_jobs, pieces;
  int64_t vectors;               // of 16 destination channels, of which a piece has a whole number
  int64_t strips;                // of kStripChannels at most, of one piece
  int64_t chunk, chunks;         // source channels are summed in `chunks` of `chunk`
  bool packed;                   // the weight is copied, else read in place
  int64_t pixels;                // of a job at most, in whole slabs
  int64_t slab_size, sums_size;  // elements per thread
  int64_t packed_size;           // elements per call

  int64_t piece_begin(int64_t piece) const { return piece * vectors / pieces * kPieceChannels; }
};

constexpr int64_t kStripChannels = 48;     // whole register tiles on every level
constexpr int64_t kSlabDepth = 256;        // a slab of 16 floats stays in the L1 cache
constexpr int64_t kPointwisePixels = 400;  // of a job at least, where the layer has them
constexpr double kPointwiseWork = 2e6;     // multiply-adds of a job

inline Gather make_pointwise_gather(Op op, const Conv2dShape& d) {
  return make_gather(op, d, true);
}

inline PointwisePlan make_pointwise_plan(Op op, const Gather& g, Dtype dtype) {
  const bool half = dtype == Dtype::kBFloat16 || dtype == Dtype::kFloat16;
  PointwisePlan z{};
  z.lanes = dtype == Dtype::kFloat64 ? 8 : 16;
  z.vectors = ceil_div(g.dst_channels, kPieceChannels);
  z.chunks = ceil_div(g.src_channels, kSlabDepth);
  z.chunk = ceil_div(g.src_channels, z.chunks);

  const int64_t height = g.rows.phase(0).size, width = g.columns.phase(0).size;
  const double pixel_work = (double)g.src_channels * (double)g.dst_channels;
  z.flat = height == 1 && g.phases() == 1;
  const int64_t unit = z.flat ? kMaxPanel * z.lanes : width,
                units = z.flat ? ceil_div(width, unit) : height;
  const double image_work = pixel_work * (double)height * (double)width;
  const double job_work =
      image_work / kJobsPerImage < kPointwiseWork ? image_work / kJobsPerImage : kPointwiseWork;
  const int64_t pixels = larger(kPointwisePixels, (int64_t)(job_work / pixel_work));
  z.rows = ceil_div(units, ceil_div(units, larger(1, pixels / unit)));
  z.row_jobs = ceil_div(units, z.rows);
  const int64_t image_pixels = smaller(z.rows * unit, height * width);
  z.images = z.row_jobs > 1 ? 1 : larger(1, smaller(16, kPointwisePixels / image_pixels));
  const double work = pixel_work * (double)image_pixels * (double)z.images;
  // Every piece copies its slabs anew: it should not be too short, above all where that is slow.
  const int64_t fewest_channels = (g.columns.src_step == 1 ? 2 : 4) * kStripChannels;
  const int64_t most_pieces =
      smaller(smaller(ceil_div(g.dst_channels, fewest_channels), kJobsPerImage / z.row_jobs),
              (int64_t)(work / kPointwiseWork));
  z.pieces = power_of_two(most_pieces);
  const int64_t piece = ceil_div(z.vectors, z.pieces) * kPieceChannels;
  z.strips = ceil_div(piece, kStripChannels);

  z.packed = half || op != Op::kForward;
  z.pixels = round_up(z.images * image_pixels, kMaxPanel * z.lanes);
  z.slab_size = z.chunk * kMaxPanel * z.lanes;
  z.sums_size = piece * (z.chunks > 1 ? z.pixels : kMaxPanel * z.lanes);
  z.packed_size = z.packed ? g.groups * z.pieces * z.strips * kStripChannels * g.src_channels : 0;
  return z;
}

inline int64_t pointwise_scratch_bytes(const PointwisePlan& z, Dtype dtype) {
  const int64_t element = dtype == Dtype::kFloat64 ? 8 : 4;
  return (z.slab_size + z.sums_size) * element + z.chunk * (int64_t)sizeof(int64_t);
}

}  // namespace torchconv::cpu

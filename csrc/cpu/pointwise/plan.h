// How pointwise cuts a layer into jobs.
#pragma once

#include "cpu/common/gather.h"

namespace torchconv::cpu {

constexpr int64_t kPanelChannels = 48;  // whole register tiles on every level
constexpr int64_t kPieceChannels = 16;  // of which a piece has a whole number

struct PointwisePlan {
  int64_t lanes;
  // A job covers `units.size` rows of positions of `images` images. Where the plane is one row, `flat`,
  // that is cut into units of kPanelBlocks blocks of lanes.
  bool flat;
  int64_t images;
  Cut units;
  // It takes one of `pieces` parts of a group's destination channels, panel after panel.
  int64_t pieces, channel_blocks, panels;
  Cut c_chunk;  // source channels are summed in these
  bool packed;  // the weight is copied, else read in place
  struct {
    int64_t slab, sums;  // elements per thread
  } scratch;
  int64_t packed_size;  // elements per call

  int64_t piece_begin(int64_t piece) const {
    return piece * channel_blocks / pieces * kPieceChannels;
  }
};

inline PointwisePlan make_pointwise_plan(Op op, const Gather& gather, Dtype dtype,
                                         int64_t threads) {
  using namespace cost;
  PointwisePlan plan{};
  plan.lanes = block_lanes(dtype);
  plan.channel_blocks = ceil_div(gather.dst_channels, kPieceChannels);
  plan.c_chunk = gather.channel_chunks(kSlabDepth);

  const int64_t height = gather.rows.phase(0).size, width = gather.columns.phase(0).size;
  const double pixel_work = (double)gather.src_channels * (double)gather.dst_channels;
  plan.flat = height == 1 && gather.phases() == 1;
  const int64_t slab = kPanelBlocks * plan.lanes, unit = plan.flat ? slab : width;
  const int64_t units = plan.flat ? ceil_div(width, unit) : height;
  const double share = pixel_work * (double)height * (double)width / kJobsPerImage;
  const double job_work = share < kPointwiseWork ? share : kPointwiseWork;
  const int64_t pixels = larger(kPointwisePixels, (int64_t)(job_work / pixel_work));
  plan.units = Cut::into(ceil_div(units, larger(1, pixels / unit)), units);
  const int64_t image_pixels = smaller(plan.units.size * unit, height * width);
  plan.images = plan.units.count > 1
                    ? 1
                    : larger(1, smaller(kPointwiseImages, kPointwisePixels / image_pixels));
  const int64_t job_pixels = plan.images * image_pixels;

  const int64_t least_panels = gather.columns.src_step == 1 ? kPiecePanels : kPiecePanelsWithStride;
  const int64_t most_pieces = smaller(ceil_div(gather.dst_channels, least_panels * kPanelChannels),
                                      (int64_t)(pixel_work * (double)job_pixels / kPointwiseWork));
  const int64_t jobs = ceil_div(gather.n, plan.images) * gather.groups * plan.units.count;
  const int64_t all_sums = gather.dst_channels * job_pixels * compute_bytes(dtype);
  plan.pieces = parts_of_channels(jobs, threads, most_pieces, [&](int64_t pieces) {
    return plan.c_chunk.count > 1 ? all_sums / pieces : 0;
  });
  const int64_t piece = ceil_div(plan.channel_blocks, plan.pieces) * kPieceChannels;
  plan.panels = ceil_div(piece, kPanelChannels);

  plan.packed = is_half(dtype) || op != Op::kForward;
  plan.scratch.slab = plan.c_chunk.size * slab;
  plan.scratch.sums = piece * (plan.c_chunk.count > 1 ? round_up(job_pixels, slab) : slab);
  if (plan.packed) {
    plan.packed_size =
        gather.groups * plan.pieces * plan.panels * kPanelChannels * gather.src_channels;
  }
  return plan;
}

inline int64_t pointwise_scratch_bytes(const PointwisePlan& plan, Dtype dtype) {
  return (plan.scratch.slab + plan.scratch.sums) * compute_bytes(dtype) +
         plan.c_chunk.size * (int64_t)sizeof(int64_t);
}

}  // namespace torchconv::cpu

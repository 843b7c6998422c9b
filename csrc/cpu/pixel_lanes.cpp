// The list entry of pixel_lanes: when it applies and how many jobs it makes.
#include "cpu/algorithms.h"
#include "cpu/pixel_plan.h"

namespace torchconv::cpu {
namespace {

// Measured against channel_lanes on AVX2 (28x28, 2 to 56 output channels, 16 to 256 inputs), which
// leaves out empty halves of a block: pixels in the lanes win where the output channels fill less of
// the lanes than this (1.05 to 2.5 times faster), pointwise layers in channels_last only below half,
// for they are read and written in place by the other. In contiguous layout pixels win, too, where
// the sums are so short that channel_lanes mostly transposes: pointwise layers (1.05 to 1.4 times)
// and at most 64 steps, 160 where rows are summed in the result (up to 1.2 times). Elsewhere they
// lose 5 to 30 %.
int64_t least_percent_filled(const Gather& g, int64_t lanes, Layout layout) {
  if (g.taps() > 1) return g.dst_channels > lanes ? 66 : 76;
  return layout == Layout::kChannelsLast ? 50 : 70;
}

bool pixels_are_better(const Gather& g, const Conv2dShape& d) {
  const int64_t lanes = d.dtype == Dtype::kFloat64 ? 8 : 16;
  const int64_t percent = least_percent_filled(g, lanes, d.layout);
  if (100 * g.dst_channels < percent * round_up(g.dst_channels, lanes)) return true;
  if (d.layout == Layout::kChannelsLast) return false;
  const bool long_rows = g.columns.longest >= kDirectColumns && g.dst_channels >= kDirectChannels;
  const int64_t few_steps = long_rows ? 160 : 64;
  return g.taps() == 1 || g.src_channels * g.taps() <= few_steps * g.phases();
}

const char* refuse(Op op, const Conv2dShape& d) {
  if (op == Op::kGradWeight) return "computes forward and input gradient only";
  if (d.c == 0 || d.k == 0) return "no channels";
  const Gather g = make_pixel_gather(op, d);
  if (!pixels_are_better(g, d)) return "output channels fill the lanes";
  if (pixel_scratch_bytes(make_pixel_plan(g, d.dtype), d.dtype) > kScratchLimit) {
    return "a band of one row exceeds the scratch limit";
  }
  return nullptr;
}

Plan plan(Op op, const Conv2dShape& d) {
  const Gather g = make_pixel_gather(op, d);
  const PixelPlan z = make_pixel_plan(g, d.dtype);
  Plan plan;
  plan.keep(Planned<PixelPlan>{g, z});
  plan.stages = 2;
  plan.jobs[0] = z.pack_jobs;
  plan.jobs[1] = ceil_div(g.n, z.images) * z.group_jobs * z.row_jobs * z.column_jobs * z.pieces;
  plan.shared_bytes = (z.packed_size + g.groups * z.panels) * (d.dtype == Dtype::kFloat64 ? 8 : 4);
  plan.scratch_bytes = pixel_scratch_bytes(z, d.dtype);
  return plan;
}

}  // namespace

const Algorithm kPixelLanes = {
    "pixel_lanes",
    refuse,
    plan,
    {kPortableKernels.pixel_lanes, kAvx2Kernels.pixel_lanes, kAvx512Kernels.pixel_lanes}};

}  // namespace torchconv::cpu

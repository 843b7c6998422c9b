// The list entry of pixel_lanes: when it applies and how many jobs it makes.
#include "cpu/algorithms.h"
#include "cpu/pixel_plan.h"

namespace torchconv::cpu {
namespace {

const char* refuse(Op op, const Conv2dShape& d) {
  if (op == Op::kGradWeight) return "computes forward and input gradient only";
  if (d.c == 0 || d.k == 0) return "no channels";
  const Gather g = make_pixel_gather(op, d);
  if (pixel_scratch_bytes(make_pixel_plan(g, d.dtype), d.dtype) > kScratchLimit) {
    return "a band of one row exceeds the scratch limit";
  }
  return nullptr;
}

Plan plan(Op op, const Conv2dShape& d) {
  const Gather g = make_pixel_gather(op, d);
  const PixelPlan z = make_pixel_plan(g, d.dtype);
  Plan plan;
  plan.stages = 2;
  plan.jobs[0] = z.pack_jobs;
  plan.jobs[1] = ceil_div(g.n, z.images) * z.group_jobs * z.row_jobs * z.column_jobs * z.pieces;
  plan.shared_bytes = z.packed_size * (d.dtype == Dtype::kFloat64 ? 8 : 4);
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

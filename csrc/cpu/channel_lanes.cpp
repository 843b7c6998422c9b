// The list entry of channel_lanes: when it applies and how many jobs it makes.
#include "cpu/algorithms.h"
#include "cpu/channel_plan.h"

namespace torchconv::cpu {
namespace {

const char* refuse(Op op, const Conv2dShape& d) {
  if (op == Op::kGradWeight) return "computes forward and input gradient only";
  if (d.c == 0 || d.k == 0) return "no channels";
  const Gather g = make_gather(op, d);
  if (channel_scratch_bytes(make_channel_plan(g, d.dtype), d.dtype) > kScratchLimit) {
    return "a band of one row exceeds the scratch limit";
  }
  return nullptr;
}

Plan plan(Op op, const Conv2dShape& d) {
  const Gather g = make_gather(op, d);
  const ChannelPlan z = make_channel_plan(g, d.dtype);
  Plan plan;
  plan.keep(Planned<ChannelPlan>{g, z});
  plan.scratch_bytes = channel_scratch_bytes(z, d.dtype);
  plan.stages = z.pack_in_job ? 1 : 2;
  plan.jobs[plan.stages - 1] = ceil_div(g.n, z.images) * g.groups * z.row_jobs * z.pieces;
  if (z.pack_in_job) return plan;
  plan.jobs[0] = g.groups * z.panels;
  plan.shared_bytes = (z.packed_size + plan.jobs[0]) * (d.dtype == Dtype::kFloat64 ? 8 : 4);
  return plan;
}

}  // namespace

const Algorithm kChannelLanes = {
    "channel_lanes",
    refuse,
    plan,
    {kPortableKernels.channel_lanes, kAvx2Kernels.channel_lanes, kAvx512Kernels.channel_lanes}};

}  // namespace torchconv::cpu

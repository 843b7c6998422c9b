// The list entry of depthwise: when it applies and how many jobs it makes.
#include "cpu/algorithms.h"
#include "cpu/depthwise_plan.h"

namespace torchconv::cpu {
namespace {

const char* refuse(Op op, const Conv2dShape& d) {
  if (op == Op::kGradWeight) return "computes forward and input gradient only";
  if (d.c == 0 || d.k == 0) return "no channels";
  if (d.groups != d.c) return "a group has several input channels";
  const Gather g = make_gather(op, d);
  if (depthwise_scratch_bytes(make_depthwise_plan(g, d.dtype), d.dtype) > kScratchLimit) {
    return "a band of one row exceeds the scratch limit";
  }
  return nullptr;
}

Plan plan(Op op, const Conv2dShape& d) {
  const Gather g = make_gather(op, d);
  const DepthwisePlan z = make_depthwise_plan(g, d.dtype);
  Plan plan;
  const int last = z.channel_lanes ? 1 : 0;
  plan.stages = last + 1;
  plan.jobs[0] = z.blocks;
  plan.jobs[last] = ceil_div(g.n, z.images) * z.row_jobs * ceil_div(z.blocks, z.job_blocks);
  plan.shared_bytes = z.packed_size * depthwise_element(d.dtype);
  plan.scratch_bytes = depthwise_scratch_bytes(z, d.dtype);
  return plan;
}

}  // namespace

const Algorithm kDepthwise = {
    "depthwise",
    refuse,
    plan,
    {kPortableKernels.depthwise, kAvx2Kernels.depthwise, kAvx512Kernels.depthwise}};

}  // namespace torchconv::cpu

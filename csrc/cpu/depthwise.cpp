// The list entries of depthwise: when they apply and how many jobs they make.
#include "cpu/algorithms.h"
#include "cpu/depthwise_grad_weight_plan.h"

namespace torchconv::cpu {
namespace {

constexpr const char* kBandTooLarge = "a band of one row exceeds the scratch limit";

const char* refuse_shape(const Conv2dShape& d) {
  if (d.c == 0 || d.k == 0) return "no channels";
  if (d.groups != d.c) return "a group has several input channels";
  // One plane feeds several maps: a dense kernel reads it once for all of them.
  return d.k > 3 * d.c ? "more than three output channels for each input channel" : nullptr;
}

const char* refuse(Op op, const Conv2dShape& d) {
  if (op == Op::kGradWeight) return "computes forward and input gradient only";
  if (const char* reason = refuse_shape(d)) return reason;
  const Gather g = make_gather(op, d);
  if (depthwise_scratch_bytes(make_depthwise_plan(g, d.dtype), d.dtype) > kScratchLimit) {
    return kBandTooLarge;
  }
  return nullptr;
}

Plan plan(Op op, const Conv2dShape& d) {
  const Gather g = make_gather(op, d);
  const DepthwisePlan z = make_depthwise_plan(g, d.dtype);
  Plan plan;
  plan.keep(Planned<DepthwisePlan>{g, z});
  plan.stages = 2;
  plan.jobs[0] = ceil_div(z.blocks, z.pack_blocks);
  plan.jobs[1] = ceil_div(g.n, z.images) * z.row_jobs * ceil_div(z.blocks, z.job_blocks);
  plan.shared_bytes = (z.packed_size + z.blocks) * depthwise_element(d.dtype);
  plan.scratch_bytes = depthwise_scratch_bytes(z, d.dtype);
  return plan;
}

const char* refuse_grad_weight(Op op, const Conv2dShape& d) {
  if (op != Op::kGradWeight) return "computes the weight gradient only";
  if (const char* reason = refuse_shape(d)) return reason;
  const Gather g = make_gather(Op::kForward, d);
  if (depthwise_grad_scratch_bytes(make_depthwise_grad_plan(g, d.dtype), g, d.dtype) >
      kScratchLimit) {
    return kBandTooLarge;
  }
  return nullptr;
}

Plan plan_grad_weight(Op, const Conv2dShape& d) {
  const Gather g = make_gather(Op::kForward, d);
  const DepthwiseGradPlan z = make_depthwise_grad_plan(g, d.dtype);
  const int64_t parts = ceil_div(z.blocks, z.job_blocks);
  Plan plan;
  plan.keep(Planned<DepthwiseGradPlan>{g, z});
  plan.scratch_bytes = depthwise_grad_scratch_bytes(z, g, d.dtype);
  plan.shared_bytes = depthwise_grad_shared_bytes(z, d.dtype);
  plan.jobs[0] = parts;
  if (z.chunk_images) {
    plan.stages = 2;
    plan.jobs[0] = parts * z.wave;
    plan.jobs[1] = parts;
    plan.repeats = ceil_div(z.chunks(d.n), z.wave);
  }
  return plan;
}

}  // namespace

const Algorithm kDepthwise = {"depthwise",
                              refuse,
                              plan,
                              {kPortableDepthwiseKernels.depthwise, kAvx2DepthwiseKernels.depthwise,
                               kAvx512DepthwiseKernels.depthwise}};

const Algorithm kDepthwiseGradWeight = {
    "depthwise_grad_weight",
    refuse_grad_weight,
    plan_grad_weight,
    {kPortableDepthwiseKernels.depthwise_grad_weight, kAvx2DepthwiseKernels.depthwise_grad_weight,
     kAvx512DepthwiseKernels.depthwise_grad_weight}};

}  // namespace torchconv::cpu

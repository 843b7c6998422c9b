// The list entry of grad_weight: when it applies and how many jobs it makes.
#include "cpu/algorithms.h"
#include "cpu/grad_weight_plan.h"

namespace torchconv::cpu {
namespace {

Planned<GradWeightPlan> make_planned(const Conv2dShape& d) {
  Gather g = make_gather(Op::kForward, d);
  const int64_t merged = merge_groups(g, d.dtype);
  GradWeightPlan z = make_grad_weight_plan(g, d.dtype);
  z.merged = merged;
  return {g, z};
}

const char* refuse(Op op, const Conv2dShape& d) {
  if (op != Op::kGradWeight) return "computes the weight gradient only";
  if (d.c == 0 || d.k == 0) return "no channels";
  const GradWeightPlan z = make_planned(d).plan;
  if (grad_weight_scratch_bytes(z, d.dtype) > kScratchLimit) {
    return "a band of one row exceeds the scratch limit";
  }
  return nullptr;
}

Plan plan(Op, const Conv2dShape& d) {
  const Planned<GradWeightPlan> planned = make_planned(d);
  const GradWeightPlan& z = planned.plan;
  Plan plan;
  plan.keep(planned);
  plan.scratch_bytes = grad_weight_scratch_bytes(z, d.dtype);
  plan.shared_bytes = grad_weight_shared_bytes(z, d.dtype);
  plan.jobs[0] = z.blocks;
  if (z.chunk_images) {
    plan.stages = 2;
    plan.jobs[0] = z.blocks * z.wave;
    plan.jobs[1] = z.blocks;
    plan.repeats = ceil_div(z.chunks(d.n), z.wave);
  }
  return plan;
}

}  // namespace

const Algorithm kGradWeight = {
    "grad_weight",
    refuse,
    plan,
    {kPortableKernels.grad_weight, kAvx2Kernels.grad_weight, kAvx512Kernels.grad_weight}};

}  // namespace torchconv::cpu

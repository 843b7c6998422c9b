// The list entry of pointwise: when it applies and how many jobs it makes.
#include "cpu/pointwise_plan.h"

#include "cpu/algorithms.h"

namespace torchconv::cpu {
namespace {

// Measured against pixel_lanes, which copies nothing: below so many multiply-adds per pixel the copy
// costs 5 to 15 %; from 2304 on pointwise was ahead on every layer of the benchmark, by 2 to 50 %.
constexpr int64_t kLeastWork = 2000;

const char* refuse(Op op, const Conv2dShape& d) {
  if (op == Op::kGradWeight) return "computes forward and input gradient only";
  if (d.c == 0 || d.k == 0) return "no channels";
  if (d.r * d.s != 1) return "the kernel is not 1 x 1";
  if (d.pad_top || d.pad_bottom || d.pad_left || d.pad_right) return "there is padding";
  if (d.layout == Layout::kChannelsLast) return "channels fill the lanes without a copy";
  if (d.c_per_group() * d.k_per_group() < kLeastWork) return "too few channels to repay a copy";
  const PointwisePlan z = make_pointwise_plan(op, make_pointwise_gather(op, d), d.dtype);
  if (pointwise_scratch_bytes(z, d.dtype) > kScratchLimit) {
    return "a row of sums exceeds the scratch limit";
  }
  return nullptr;
}

Plan plan(Op op, const Conv2dShape& d) {
  const Gather g = make_pointwise_gather(op, d);
  const PointwisePlan z = make_pointwise_plan(op, g, d.dtype);
  Plan plan;
  plan.keep(Planned<PointwisePlan>{g, z});
  plan.stages = 2;
  plan.jobs[0] = z.packed ? g.groups * z.pieces * z.strips : 0;
  plan.jobs[1] = ceil_div(g.n, z.images) * g.groups * z.row_jobs * z.pieces;
  plan.shared_bytes = z.packed_size * (d.dtype == Dtype::kFloat64 ? 8 : 4);
  plan.scratch_bytes = pointwise_scratch_bytes(z, d.dtype);
  return plan;
}

}  // namespace

const Algorithm kPointwise = {
    "pointwise",
    refuse,
    plan,
    {kPortableKernels.pointwise, kAvx2Kernels.pointwise, kAvx512Kernels.pointwise}};

}  // namespace torchconv::cpu

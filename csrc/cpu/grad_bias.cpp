// The bias gradient as an algorithm of its own: it takes every shape and is in no list.
#include "cpu/algorithms.h"
#include "cpu/grad_bias_plan.h"

namespace torchconv::cpu {
namespace {

const char* refuse(Op, const Conv2dShape&) {
  return nullptr;
}

Plan plan(Op, const Conv2dShape& d) {
  const GradBiasPlan z = make_grad_bias_plan(d);
  const int64_t element = d.dtype == Dtype::kFloat64 ? 8 : 4;
  Plan plan;
  plan.keep(z);
  plan.jobs[0] = z.planes ? d.k : z.chunks;
  if (z.planes) return plan;
  plan.stages = 2;
  plan.jobs[1] = 1;
  plan.shared_bytes = z.chunks * d.k * element;
  plan.scratch_bytes = z.row_size * element;
  return plan;
}

}  // namespace

const Algorithm kGradBias = {
    "grad_bias",
    refuse,
    plan,
    {kPortableKernels.grad_bias, kAvx2Kernels.grad_bias, kAvx512Kernels.grad_bias}};

}  // namespace torchconv::cpu

// grad_bias: the gradient of the bias, one sum per output channel over images and pixels. It takes every
// shape and is in no list. Each sum is dealt out to running sums in an order that knows nothing of
// vectors or threads.
//
//     contiguous: a job is a channel; element i of its planes goes to running sum i modulo 64 (floats)
//
//      | g g g g ... g | g g g g ... g |  :        four vectors of 16 floats, added up in halves at the
//      +-------+-------+-------+-------+           end: 64, 32, 16, ...
//          sums of element 0, 1, ..., 63
//
//     channels_last: a job of stage 0 is a chunk of pixels; whole rows of channels, or for few channels
//     as many rows as fill whole vectors, are added to one such row; stage 1 adds up the chunks
//
// Costs: grad is read once.
#include "cpu/algorithms.h"
#include "cpu/grad_bias/plan.h"

namespace torchconv::cpu {
namespace {

const char* make_plan(Op, const Conv2dShape& shape, Plan& plan) {
  const GradBiasPlan bias = make_grad_bias_plan(shape);
  plan.keep(bias);
  if (bias.planes) {
    plan.jobs[0] = shape.k;
    return nullptr;
  }
  plan.stages = 2;
  plan.jobs[0] = bias.pixel_chunk.count;
  plan.jobs[1] = 1;
  plan.shared_bytes = bias.pixel_chunk.count * shape.k * compute_bytes(shape.dtype);
  plan.scratch_bytes = bias.row_size * compute_bytes(shape.dtype);
  return nullptr;
}

}  // namespace

const Algorithm kGradBias = {
    "grad_bias",
    make_plan,
    {kPortableKernels.grad_bias, kAvx2Kernels.grad_bias, kAvx512Kernels.grad_bias}};

}  // namespace torchconv::cpu

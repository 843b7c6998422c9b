// depthwise_grad_weight: the weight gradient of depthwise layers.
//
//     weight [r][s] = sum over images, p, q of  grad [p][q] * source [p * stride + r][q * stride + s]
//
//      grad row p    | g g g g ... |       lanes: pixels of a plane, or channels of a pixel
//      source row    | x x x x ... |       tap (r, 0)   each tap of a register tile is a sum in every
//                      | x x x ... |       tap (r, 1)   lane: up to 7 tap rows x 3 taps
//
// There is no stage that packs. A job takes some blocks of the result, a plane or a vector of channels
// each, over a part of the rows: these are summed in registers, then added to the block's sums. Where
// blocks are too few to feed the threads, each of them sums a chunk of the samples and stage 1 adds the
// chunks in the order of the samples (common/ordered_sum.h). Lanes that are pixels are added up at the
// very end, in one order. With channels in the lanes and 3, 5 or 7 neighbouring taps, a window of source
// pixels slides along a row and each is loaded once (window_tile.h). Rows of contiguous planes are copied to whole
// vectors (load_plane.h).
//
// Costs: both operands are read once for every 3 taps of a row, in windows once.
#include "cpu/algorithms.h"
#include "cpu/depthwise/applies.h"
#include "cpu/depthwise_grad_weight/plan.h"

namespace torchconv::cpu {
namespace {

const char* make_plan(Op op, const Conv2dShape& shape, Plan& plan) {
  if (op != Op::kGradWeight) return "computes the weight gradient only";
  if (const char* reason = not_depthwise(shape)) return reason;
  const Gather gather = make_gather(Op::kForward, shape);
  const DepthwiseGradPlan weight = make_depthwise_grad_plan(gather, shape.dtype);
  plan.keep(Planned<DepthwiseGradPlan>{gather, weight});
  plan.scratch_bytes = depthwise_grad_scratch_bytes(weight, gather, shape.dtype);
  weight.chunks.plan_waves(shape.n, weight.parts,
                           weight.blocks * weight.block_size * compute_bytes(shape.dtype), plan);
  return nullptr;
}

}  // namespace

const Algorithm kDepthwiseGradWeight = {
    "depthwise_grad_weight",
    make_plan,
    {kPortableDepthwiseKernels.depthwise_grad_weight, kAvx2DepthwiseKernels.depthwise_grad_weight,
     kAvx512DepthwiseKernels.depthwise_grad_weight}};

}  // namespace torchconv::cpu

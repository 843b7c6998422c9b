// grad_weight: the weight gradient of all layers but depthwise ones.
//
//     for every tap (r, s):  weight [k][c] = grad [k][pixels] x shifted input [pixels][c]
//
//         tile rows: the one operand, broadcast           lanes: the other operand
//
//      pixel 0   | g g g g g g g g |                     | x x x x ... x |
//      pixel 1   | g g g g g g g g |          x          | x x x x ... x |
//        :             8 of k                                 48 of c
//
// The input's channels are in the lanes, or those of grad where they fill them better; several groups of
// few channels are computed as one, each half of the lanes with the rows of its own groups. A job of stage 0 takes one
// block of the result, some channels of both x all taps, over a chunk of the samples, or over all of them; in
// channels_last those of several groups of few channels, which it loads together. It goes over its pixels in passes: a
// pass loads the operands of some rows or images, groups of its pixels are summed in registers, then added to the
// block. Pixels whose tap sees padding are left out where that repays (inner_pixels.h). Stage 1 adds the chunks in the
// order of the samples (common/ordered_sum.h).
//
// A few contiguous channels of the input, such as a first layer's, are the tile rows: rows of each channel are
// copied as they are, so that those of all tap rows are evenly spaced, and a tile takes them together.
//
// Where the windows of neighbouring pixels do not overlap, as in a patch embedding, all that the taps of a pixel see
// are channels of it: the layer is one matrix product, whose operand is a copy of the input (load_unfolded.h).
//
// In bfloat16 with AVX-512 BF16 the products of two neighbouring pixels of a row are one step
// (load_pairs.h). Where a row has an odd number of them, the last one is a pair with zero; a pass with an
// infinite input, which zero must not meet, is then summed one by one.
//
// Costs: each operand is copied once for every block of the other's channels, none in channels_last with
// 1x1 kernels, unless its pixels meet few sets of a cache; what the next pass copies is fetched meanwhile (next_pass.h).
// The sums of a block are read and written once for each group of pixels.
#include "cpu/algorithms.h"
#include "cpu/common/in_pairs.h"
#include "cpu/grad_weight/plan.h"

namespace torchconv::cpu {
namespace {

const char* make_plan(Op op, const Conv2dShape& shape, Plan& plan) {
  if (op != Op::kGradWeight) return "computes the weight gradient only";
  if (shape.c == 0 || shape.k == 0) return "no channels";
  Gather gather = make_gather(Op::kForward, shape);
  const int64_t merged = merge_groups(gather, shape.dtype);
  GradWeightPlan weight = make_grad_weight_plan(gather, merged, shape.dtype);
  share_tile_rows(weight, gather, plan.threads);
  load_groups_together(weight, gather, plan.threads);
  if (has_pairs(plan.isa, shape.dtype)) gather.pairs = InPairs::kPixels;
  plan.keep(Planned<GradWeightPlan>{gather, weight});
  plan.scratch_bytes = grad_weight_scratch_bytes(weight, shape.dtype);
  weight.chunks.plan_waves(shape.n, weight.together.count,
                           weight.blocks * weight.block_size * compute_bytes(shape.dtype), plan);
  return nullptr;
}

}  // namespace

const Algorithm kGradWeight = {"grad_weight",
                               make_plan,
                               {kPortableKernels.grad_weight, kAvx2Kernels.grad_weight,
                                kAvx512Kernels.grad_weight, kAvx512PairKernels.grad_weight}};

}  // namespace torchconv::cpu

// pointwise: 1x1 kernels in contiguous layout, forward and input gradient, with enough channels to repay
// a copy of the pixels: the bottlenecks of ResNet-50, MobileNet's expansions.
//
//     for every image:  result [k][pixels] = weight [k][c] x source [c][pixels]
//
//              c                      slab: 64 pixels           64 pixels
//        +-----------+               +---+                     +---+
//      k | weight,   |     x       c |   | copied to the   = k |   |   in the result itself where a slab
//        | broadcast |               |   | L1 cache            |   |   is whole
//        +-----------+               +---+                     +---+
//
// Stage 0 packs the weights in panels of 48 output channels; the forward operator broadcasts float weights
// where they lie and has nothing to pack. A job of stage 1 takes some rows of some images and a part of
// the output channels; for each chunk of source channels it copies slab after slab of pixels, of several
// rows or images where they are short, so that a slab stays in the L1 cache while the weights stream by.
//
// Costs: each pixel is copied once for each part of the output channels. Nothing is transposed. With a
// stride most of the input gradient sees no tap and is cleared.
#include "cpu/algorithms.h"
#include "cpu/common/in_pairs.h"
#include "cpu/pointwise/plan.h"

namespace torchconv::cpu {
namespace {

const char* make_plan(Op op, const Conv2dShape& shape, Plan& plan) {
  if (op == Op::kGradWeight) return "computes forward and input gradient only";
  if (shape.c == 0 || shape.k == 0) return "no channels";
  if (shape.r * shape.s != 1) return "the kernel is not 1 x 1";
  if (shape.pad_top || shape.pad_bottom || shape.pad_left || shape.pad_right) {
    return "there is padding";
  }
  if (shape.layout == Layout::kChannelsLast) return "channels fill the lanes without a copy";
  if (shape.c_per_group() * shape.k_per_group() < cost::kLeastPointwiseWork) {
    return "too few channels to repay a copy";
  }
  const Gather gather = in_pairs(plan.isa, shape.dtype, make_gather(op, shape, true));
  if (odd_pairs_are_better(plan.isa, shape.dtype, gather))
    return "channels come in pairs with output channels in the lanes";
  const PointwisePlan pointwise = make_pointwise_plan(op, gather, shape.dtype, plan.threads);
  plan.keep(Planned<PointwisePlan>{gather, pointwise});
  plan.stages = 2;
  plan.jobs[0] = pointwise.packed ? gather.groups * pointwise.pieces * pointwise.panels : 0;
  plan.jobs[1] = ceil_div(gather.n, pointwise.images) * gather.groups * pointwise.units.count *
                 pointwise.pieces;
  plan.shared_bytes = pointwise.packed_size * compute_bytes(shape.dtype);
  plan.scratch_bytes = pointwise_scratch_bytes(pointwise, shape.dtype);
  if (pointwise.packed) plan.pack_weights_first({pointwise.pieces, pointwise.panels});
  return nullptr;
}

}  // namespace

const Algorithm kPointwise = {"pointwise",
                              make_plan,
                              {kPortableKernels.pointwise, kAvx2Kernels.pointwise,
                               kAvx512Kernels.pointwise, kAvx512PairKernels.pointwise}};

}  // namespace torchconv::cpu

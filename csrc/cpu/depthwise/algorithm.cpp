// depthwise: forward and input gradient where each channel is a group of its own, also with two or three
// output channels for each: MobileNet, EfficientNet, ConvNeXt, RepLKNet, image filters.
//
//     pixels in the lanes (contiguous)            channels in the lanes (channels_last, narrow maps)
//
//      source rows      w broadcast                pixel 0   | c c c c ... c |   weights [r, s][lanes]
//      | x x x x ... |                             pixel 1   | c c c c ... c |
//      | x x x x ... |  a strip slides down a       pixel 2   | c c c c ... c |   a run of 8 pixels of a row,
//      | x x x x ... |  plane: a loaded row          :                           or a tile of 4 rows
//            v          serves all its tap rows
//
// Stage 0 packs the weights of each block, a plane or a vector of channels, and sees if they are finite:
// then padding adds nothing and is left out, and the source is often read in place. A job of stage 1
// takes some rows of some images and blocks. It loads the patch of a block, runs strips (kernels up to
// 7x8, pixels in the lanes), runs (channels in the lanes, up to 7 taps in a row, or 48 with stride two) or
// tiles (everything else), and stores. Runs of bfloat16 hold the even channels of two blocks in one vector and the odd ones in
// the other (AVX-512), for which stage 0 packs the weights once more.
//
// Costs: memory, up to about 25 taps; beyond, a load for each row of a tile. A narrow contiguous map is
// transposed to channels and back where that fills 1.6 times as many lanes, and those with stride two where
// channels fill 0.7 of them. An input gradient of padding that repeats elements is that of the padded image, whose
// rim is added to what it repeats before the sums leave (fold.h).
#include "cpu/algorithms.h"
#include "cpu/depthwise/applies.h"
#include "cpu/depthwise/plan.h"
#include "cpu/margins.h"

namespace torchconv::cpu {
namespace {

const char* make_plan(Op op, const Conv2dShape& shape, Plan& plan) {
  if (op == Op::kGradWeight) return "computes forward and input gradient only";
  if (const char* reason = not_depthwise(shape)) return reason;
  const Margins folded = op == Op::kGradInput ? margins(shape) : Margins{};
  const Gather gather = make_gather(op, folded.any() ? padded_input(shape).shape : shape);
  const DepthwisePlan depthwise =
      make_depthwise_plan(gather, shape.dtype, plan.isa, plan.threads, folded);
  if (folded.any()) {
    // A pointwise layer has rows of other lengths.
    const Conv2dShape padded = padded_input(shape).shape;
    if (gather.rows.dst_size != padded.h || gather.columns.dst_size != padded.w) {
      return "the padding of the result has no rows and columns";
    }
    const char* const reason = cannot_fold(depthwise, gather, shape.dtype, plan.isa, plan.threads);
    if (reason) return reason;
  }
  plan.keep(Planned<DepthwisePlan>{gather, depthwise});
  plan.stages = 2;
  plan.jobs[0] = ceil_div(depthwise.blocks, depthwise.weights.pack_blocks);
  plan.jobs[1] = ceil_div(gather.n, depthwise.images) * depthwise.rows.count * depthwise.parts;
  plan.shared_bytes = depthwise_shared_size(depthwise) * compute_bytes(shape.dtype);
  plan.scratch_bytes = depthwise_scratch_bytes(depthwise, shape.dtype);
  plan.pack_weights_first({depthwise.blocks, depthwise.channels_in_lanes, depthwise.weights.row});
  return nullptr;
}

}  // namespace

const Algorithm kDepthwise = {"depthwise",
                              make_plan,
                              {kPortableDepthwiseKernels.depthwise, kAvx2DepthwiseKernels.depthwise,
                               kAvx512DepthwiseKernels.depthwise},
                              Sums::kDirect,
                              nullptr,
                              true};

}  // namespace torchconv::cpu

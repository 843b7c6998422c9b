// dense_pixels: forward and input gradient where output channels would leave lanes empty, such as first
// layers and LeNet, and in contiguous layout where sums are so short that dense_channels would mostly
// transpose.
//
//     a residue plane of one channel, rows following each other without a gap
//
//      0 0 x x x x x x 0 x x x x x x 0 x x x x x x 0 0
//      |------- tap (0, 0) reads this span -----|
//        |------- tap (0, 1) reads this one -------|       lanes: neighbouring pixels
//                      |------- tap (1, 0) ------------|
//
//     a register tile sums 8 output channels, broadcast, x 48 pixels
//
// Stage 0 packs the weights. A job of stage 1 takes some rows and columns of some images and groups, and
// a part of the output channels. For each chunk of source channels it loads the residue planes: with a
// stride, one for each remainder of the coordinates, so that every tap reads neighbours. Without
// padding and stride the planes are the source itself. Of an input gradient with stride 2 both phases of the
// columns are summed before a row of the contiguous result is written.
//
// Costs: margins are computed and dropped, two columns of 58 for a 3x3 on 56x56; rows of taps that only
// see padding are left out where that saves a tenth. Nothing is transposed in contiguous layout.
#include "cpu/algorithms.h"
#include "cpu/common/in_pairs.h"
#include "cpu/dense_pixels/plan.h"

namespace torchconv::cpu {
namespace {

int64_t least_percent_filled(const Gather& gather, int64_t lanes) {
  using namespace cost;
  if (gather.taps() > 1) {
    if (gather.layout == Layout::kChannelsLast && gather.columns.src_step > 1)
      return gather.dst_channels > lanes ? kFilledPercentOfSeveralWithStride
                                         : kFilledPercentWithStride;
    return gather.dst_channels > lanes ? kFilledPercentOfSeveral : kFilledPercent;
  }
  return gather.layout == Layout::kChannelsLast ? kFilledPercentInPlace : kFilledPercentPointwise;
}

// Whether pixels in the lanes beat dense_channels: where channels leave many lanes empty, and in the
// contiguous layout where the sums are short.
bool pixels_are_better(const Gather& gather, int64_t lanes) {
  using namespace cost;
  const int64_t percent = least_percent_filled(gather, lanes);
  if (100 * gather.dst_channels < percent * round_up(gather.dst_channels, lanes)) return true;
  if (gather.layout == Layout::kChannelsLast) return false;
  const bool long_rows =
      gather.columns.longest >= kDirectColumns && gather.dst_channels >= kDirectChannels;
  const int64_t few_steps = long_rows ? kFewStepsOfLongRows : kFewSteps;
  return gather.taps() == 1 || gather.src_channels * gather.taps() <= few_steps * gather.phases();
}

// Whether dense_channels, which takes the taps of few channels in pairs at this level, is faster than pixels in
// the lanes, which do not come in pairs.
bool tap_pairs_are_better(const Gather& gather, const Gather& in_pairs, int64_t lanes) {
  using namespace cost;
  if (in_pairs.pairs != InPairs::kTaps) return false;
  const int64_t rounded = round_up(gather.dst_channels, lanes);
  if (gather.layout == Layout::kChannelsLast)
    return 100 * gather.dst_channels >= kFilledPercentOfTapPairs * rounded;
  const int64_t loads = kTapPairLoads * gather.src_channels + kTapPairStores;
  const int64_t steps = in_pairs.steps() + loads;
  return 100 * steps * rounded <
         kTapPairPercent * gather.src_channels * gather.taps() * gather.dst_channels;
}

const char* make_plan(Op op, const Conv2dShape& shape, Plan& plan) {
  if (op == Op::kGradWeight) return "computes forward and input gradient only";
  if (shape.c == 0 || shape.k == 0) return "no channels";
  const Gather gather = in_pairs(plan.isa, shape.dtype, make_gather(op, shape, true));
  const int64_t lanes = block_lanes(shape.dtype);
  if (!pixels_are_better(gather, lanes)) return "output channels fill the lanes";
  if (tap_pairs_are_better(gather, in_tap_pairs(plan.isa, shape.dtype, gather), lanes))
    return "taps come in pairs with channels in the lanes";
  if (odd_pairs_are_better(plan.isa, shape.dtype, gather))
    return "channels come in pairs with output channels in the lanes";
  const PixelPlan pixels = make_pixel_plan(gather, shape.dtype);
  plan.keep(Planned<PixelPlan>{gather, pixels});
  plan.stages = 2;
  plan.jobs[0] = pixels.packed.jobs;
  plan.jobs[1] = ceil_div(gather.n, pixels.images) * pixels.parts() * pixels.panels.pieces;
  plan.shared_bytes =
      (pixels.packed.size + gather.groups * pixels.panels.count) * compute_bytes(shape.dtype);
  plan.scratch_bytes = pixel_scratch_bytes(pixels, shape.dtype);
  plan.pack_weights_first({pixels.panels.count, pixels.c_chunk.size, pixels.c_chunk.count});
  return nullptr;
}

}  // namespace

const Algorithm kDensePixels = {"dense_pixels",
                                make_plan,
                                {kPortableKernels.dense_pixels, kAvx2Kernels.dense_pixels,
                                 kAvx512Kernels.dense_pixels, kAvx512PairKernels.dense_pixels}};

}  // namespace torchconv::cpu

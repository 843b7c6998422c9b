// dense_channels: forward and input gradient where output channels fill the vector lanes, which is most
// of ResNet, VGG and Inception; any stride, dilation, padding, groups, both layouts.
//
//     patch [row][column][c]                 packed weights [c block][r][s][c][lanes]
//
//      . . . . . . . . .                       c r s   lanes: output channels
//      . a . . b . . c .    broadcast          0 0 0  | w w w w ... w w w w |
//      . . . . . . . . .   ----------->        0 0 1  | w w w w ... w w w w |
//      . . . . . . . . .                          :   |                     |
//
//     a register tile sums up to 28 pixels (a, b, c, ...) x 16 lanes, 12 x 32, 8 x 48 or 6 x 64
//
// Stage 0 packs the weights, a job for each panel, and sees if they are finite: then taps that only see
// padding are left out, they would add zeros. Large weights that a single job uses are packed by that job, a
// slab of a chunk at a time. A job of stage 1 takes some rows of an image, or several
// small images, and a part of the output channels. For each chunk of source channels it loads the rows
// that it reads into a patch (without padding, in channels_last or of few planes, the source is the
// patch; groups of few channels come several at a time in channels_last), then takes slab after slab of weights
// over all its pixels. A slab is what a register tile has
// in its lanes; with AVX-512 the last of its vectors is half of one where that is enough. Rows that see the
// same taps are one run of tiles, in contiguous layout as many of them as are transposed together: then columns
// at the edges, which leave out more taps, are tiles down all of them.
// Threads that share an image have rows of it each where that repays (shared_rows.h).
//
// At the level AVX-512 with BF16 a broadcast operand is a pair of bfloat16: of neighbouring channels, of which an odd
// number ends with zero (odd_channels.h), or, where a forward layer has at most three, of taps that follow each other,
// for which the patch holds every pair of pixels (tap_steps.h).
//
// Costs: a pixel is copied once for each job that reads it; a tile of 6 x 4 vectors loads 10 operands
// for 24 multiply-adds; in contiguous layout sums are transposed on their way to the result.
#include "cpu/algorithms.h"
#include "cpu/common/in_pairs.h"
#include "cpu/dense_channels/plan.h"

namespace torchconv::cpu {
namespace {

const char* make_plan(Op op, const Conv2dShape& shape, Plan& plan) {
  if (op == Op::kGradWeight) return "computes forward and input gradient only";
  if (shape.c == 0 || shape.k == 0) return "no channels";
  const Gather pairs = in_pairs(plan.isa, shape.dtype, make_gather(op, shape));
  const Gather direct = with_shared_rows(in_odd_pairs(plan.isa, shape.dtype, pairs), shape.dtype,
                                         plan.threads, plan.weights_are_kept);
  Gather gather = in_tap_pairs(plan.isa, shape.dtype, direct);
  ChannelPlan channels =
      make_channel_plan(gather, shape.dtype, plan.threads, plan.weights_are_kept);
  // Pairs of taps take several times the memory of the rows that they are made of.
  if (gather.pairs != direct.pairs &&
      channel_scratch_bytes(channels, shape.dtype) > cost::kScratchLimit) {
    gather = direct;
    channels = make_channel_plan(gather, shape.dtype, plan.threads, plan.weights_are_kept);
  }
  plan.keep(Planned<ChannelPlan>{gather, channels});
  plan.scratch_bytes = channel_scratch_bytes(channels, shape.dtype);
  plan.may_replace_residual = shape.layout == Layout::kChannelsLast && !is_half(shape.dtype);
  const int64_t jobs = channels.source_jobs(gather) * channels.panels.pieces;
  if (channels.packing == ChannelPlan::Packing::kInJob) {
    plan.jobs[0] = jobs;
    return nullptr;
  }
  plan.stages = 2;
  plan.jobs[0] = gather.groups * channels.panels.panels;
  plan.jobs[1] = jobs;
  plan.shared_bytes = (channels.packed_size + plan.jobs[0]) * compute_bytes(shape.dtype);
  plan.pack_weights_first({channels.panels.pieces, channels.panels.panels, channels.c_chunk.size,
                           channels.c_chunk.count, channels.padded, (int64_t)gather.pairs});
  return nullptr;
}

}  // namespace

const Algorithm kDenseChannels = {
    "dense_channels",
    make_plan,
    {kPortableKernels.dense_channels, kAvx2Kernels.dense_channels, kAvx512Kernels.dense_channels,
     kAvx512PairKernels.dense_channels}};

}  // namespace torchconv::cpu

// grouped_channels: forward and input gradient of groups of a few channels in channels_last, where those of
// one group would leave most lanes of a vector empty: ResNeXt, RegNet, grouped 1x1 layers.
//
//     a pixel of the source       channel 1 of each group        sums, 16 output channels
//
//      group 0  a0 a1 a2 a3        a1 a1 a1 a1                     lanes 0 to 3
//      group 1  b0 b1 b2 b3   ->   b1 b1 b1 b1   x weights   ->    lanes 4 to 7
//      group 2  c0 c1 c2 c3        c1 c1 c1 c1   [r, s][c][lane]   lanes 8 to 11
//      group 3  d0 d1 d2 d3        d1 d1 d1 d1                     lanes 12 to 15
//
// A vector holds whole groups, and lanes without a channel where no further one has room. What a tap multiplies is a
// permutation of the source vector of these groups, or of two of them, made in registers and used for all taps of
// a row, so the layer is computed like a depthwise one with as many steps for each tap as a group has channels.
//
// Stage 0 packs the weights and sees if they are finite: then tap rows that only see padding are left out. A
// job of stage 1 takes some rows of an image and some vectors. Source and result are read and written in
// place. Pixels beside the image are zeros that are multiplied, or others of its pixels that the padding repeats,
// found by tables of offsets, so there is no patch.
//
// Costs: of a 3x3 kernel and a tile of 2 x 8 pixels, a channel of a tap row takes 48 multiply-adds, 20
// permutations and 24 loads of weights, which dense_channels would compute with 96 multiply-adds for groups
// of 8 channels and 192 for groups of 4. Source and result move once. A 1x1 kernel has fewer multiply-adds
// than bytes to move: memory limits it.
#include "cpu/algorithms.h"
#include "cpu/common/in_pairs.h"
#include "cpu/grouped_channels/plan.h"

namespace torchconv::cpu {
namespace {

const char* make_plan(Op op, const Conv2dShape& shape, Plan& plan) {
  if (op == Op::kGradWeight) return "computes forward and input gradient only";
  if (shape.c == 0 || shape.k == 0) return "no channels";
  if (shape.layout != Layout::kChannelsLast) return "channels are not neighbours";
  if (shape.dtype == Dtype::kFloat64) return "computes in float32 only";
  const Gather gather = in_pairs(plan.isa, shape.dtype, make_gather(op, shape));
  const int64_t lanes = vector_lanes(plan.isa);
  if (const char* reason = not_side_by_side(gather, lanes)) return reason;
  if (const char* reason = no_group_tiles(gather.columns)) return reason;
  const GroupedPlan grouped = make_grouped_plan(gather, lanes, shape.dtype);
  plan.keep(Planned<GroupedPlan>{gather, grouped});
  plan.stages = 2;
  plan.jobs[0] = grouped.parts;
  plan.jobs[1] = gather.n * grouped.parts * grouped.rows.count;
  if (gather.margins.any()) plan.scratch_bytes = gather.rows.kernel * (int64_t)sizeof(int64_t);
  plan.shared_bytes = grouped.vectors * (grouped.vector_weights + 1) * compute_bytes(shape.dtype);
  plan.pack_weights_first({grouped.lanes, grouped.vectors, grouped.vector_weights});
  return nullptr;
}

}  // namespace

const Algorithm kGroupedChannels = {
    "grouped_channels",
    make_plan,
    {kPortableKernels.grouped_channels, kAvx2Kernels.grouped_channels,
     kAvx512Kernels.grouped_channels, kAvx512PairKernels.grouped_channels}};

}  // namespace torchconv::cpu

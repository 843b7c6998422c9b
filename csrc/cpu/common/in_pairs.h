// Which layers a level computes in pairs of bfloat16, and as what (InPairs). No torch, no SIMD.
#pragma once

#include "cpu/common/gather.h"

namespace torchconv::cpu {

// Whether steps of kernels may be pairs.
constexpr bool has_pairs(Isa isa, Dtype dtype) {
  return isa == Isa::kAvx512Bf16 && dtype == Dtype::kBFloat16;
}

// The gather of a level that computes bfloat16 in pairs, where the order of the sums allows it.
inline Gather in_pairs(Isa isa, Dtype dtype, Gather gather) {
  if (!has_pairs(isa, dtype) || !gather.order.comes_in_pairs()) return gather;
  gather.pairs = InPairs::kChannels;
  gather.src_channels /= 2;
  gather.order = gather.order.in_pairs();
  return gather;
}

// What it costs to load blocks of an odd number of channels for each position, in products of pairs: two transposed
// squares a block.
inline int64_t odd_pair_loads(const Gather& pairs) {
  if (pairs.layout == Layout::kChannelsLast) return 0;
  const int64_t pixels = pairs.rows.forward ? pairs.rows.src_step * pairs.columns.src_step : 1;
  return cost::kOddBlockLoads * pixels * (pairs.src_channels / pairs.order.c_block);
}

// The gather where such blocks come in pairs, for dense_channels, if that repays the loads.
inline Gather in_odd_pairs(Isa isa, Dtype dtype, const Gather& gather) {
  const int64_t block = gather.order.c_block;
  if (!has_pairs(isa, dtype) || gather.pairs != InPairs::kNot || block % 2 == 0 || block == 1)
    return gather;
  Gather pairs = gather;
  pairs.pairs = InPairs::kOddChannels;
  pairs.order = gather.order.in_pairs();
  pairs.src_channels = pairs.order.channels;
  const int64_t saved = gather.steps() - pairs.steps();
  const int64_t lanes = round_up(gather.dst_channels, block_lanes(dtype));
  return odd_pair_loads(pairs) < saved * lanes ? pairs : gather;
}

// Whether that is faster than single channels where pixels are in the lanes.
inline bool odd_pairs_are_better(Isa isa, Dtype dtype, const Gather& gather) {
  const Gather pairs = in_odd_pairs(isa, dtype, gather);
  if (pairs.pairs != InPairs::kOddChannels) return false;
  if (gather.layout == Layout::kChannelsLast) return true;
  const int64_t steps = pairs.steps() + cost::kOddPairStores * gather.phases();
  return steps * round_up(gather.dst_channels, block_lanes(dtype)) + odd_pair_loads(pairs) <
         gather.steps() * gather.dst_channels;
}

// The gather of a forward layer of few channels, which are summed plane by plane: there taps follow each other.
// Rows of one or two taps would need as many copies of the source as they save steps.
inline Gather in_tap_pairs(Isa isa, Dtype dtype, Gather gather) {
  const bool plane_by_plane = gather.src_channels <= sum_order::kPlaneByPlane &&
                              gather.order.c_block == 1 && gather.pairs == InPairs::kNot;
  if (has_pairs(isa, dtype) && gather.columns.forward && gather.columns.kernel >= 3 &&
      plane_by_plane) {
    gather.pairs = InPairs::kTaps;
  }
  return gather;
}

}  // namespace torchconv::cpu

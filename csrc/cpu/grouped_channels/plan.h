// How grouped_channels cuts a layer into jobs. No torch, no SIMD.
#pragma once

#include "cpu/common/gather.h"

namespace torchconv::cpu {

// Taps of a row that tiles are compiled for.
constexpr int64_t kGroupTaps = 3;
// Vectors of source channels, likewise.
constexpr int64_t kGroupSources = 2;
constexpr int64_t kPlainLanes = 4, kAvx2Lanes = 8;

struct GroupedPlan {
  // Of a vector: its lanes, those with a destination channel, the source channels of their groups.
  int64_t lanes, dst_lanes, src_lanes;
  int64_t vectors, parts;  // of a pixel; jobs share the vectors, as `parts` parts
  Cut rows;
  int64_t vector_weights;  // elements
  int64_t sources;         // vectors that hold the source channels of a vector's groups
  bool fetches;            // what the caches will not hold is asked for ahead of time

  Range vectors_of(int64_t part) const { return share(part, parts, vectors); }
};

// Whether each sum of a phase is one chain.
inline bool one_chain(const Gather& gather) {
  const int64_t blocks = gather.src_channels / gather.order.c_block;
  for (int64_t i = 0; i < gather.rows.phases; ++i) {
    for (int64_t j = 0; j < gather.columns.phases; ++j) {
      if (blocks > gather.order.partial(gather.rows.phase(i).taps * gather.columns.phase(j).taps))
        return false;
    }
  }
  return true;
}

// Why the groups of a layer do not share vectors, or null.
inline const char* not_side_by_side(const Gather& gather, int64_t lanes) {
  if (gather.groups == 1) return "there is one group";
  if (gather.dst_channels > lanes) return "a group is more than a vector";
  // In plain C++, of four lanes, all of them cost the same: there a group may be alone, for the tests to see.
  if (gather.dst_channels == lanes && lanes > kPlainLanes) return "a group fills a vector";
  const int64_t groups = lanes / gather.dst_channels,
                sources = ceil_div(groups * gather.src_channels, lanes);
  const bool one_tap = gather.taps() == 1, avx2 = lanes == kAvx2Lanes;
  const bool few = gather.src_channels < cost::kShortVectorChannels ||
                   gather.groups * gather.dst_channels <= lanes;
  if (avx2 && few) return "too few channels for short vectors";
  const double least = one_tap ? cost::kFilledByGroupsOfOneTap : cost::kFilledByGroups;
  if (filled_lanes(gather.groups, groups) < least) return "the groups fill too few lanes";
  const double least_of_one = avx2      ? cost::kFilledByGroups
                              : one_tap ? cost::kFilledByOneVectorOfOneTap
                                        : cost::kFilledByOneVector;
  if ((double)(groups * gather.dst_channels) < least_of_one * (double)lanes) {
    return "whole groups fill too few lanes of a vector";
  }
  if (sources > (groups > 1 && !avx2 ? kGroupSources : 1)) {
    return "groups in a vector have too many source channels";
  }
  return one_chain(gather) ? nullptr : "a sum is more than one chain";
}

// Why there are no tiles for what the rows of a kernel see, or null.
inline const char* no_group_tiles(const Axis& columns) {
  for (int64_t i = 0; i < columns.phases; ++i) {
    const AxisPhase phase = columns.phase(i);
    if (phase.taps > kGroupTaps) return "more than three taps of a row";
    if (phase.taps <= 1 || columns.src_step == 1) continue;
    if (columns.src_step != 2 || phase.taps != 3 || phase.src_delta != 1) {
      return "no tile for this stride";
    }
  }
  return nullptr;
}

inline GroupedPlan make_grouped_plan(const Gather& gather, int64_t lanes, Dtype dtype) {
  using namespace cost;
  GroupedPlan plan{};
  const Axis &rows = gather.rows, &columns = gather.columns;
  plan.lanes = lanes;
  const int64_t groups = lanes / gather.dst_channels;
  plan.dst_lanes = groups * gather.dst_channels;
  plan.src_lanes = groups * gather.src_channels;
  plan.sources = ceil_div(plan.src_lanes, lanes);
  plan.vectors = ceil_div(gather.groups, groups);
  plan.vector_weights = gather.steps() * lanes;
  const int64_t fitting = kGroupWeightBytes / (plan.vector_weights * compute_bytes(dtype));
  plan.parts = ceil_div(plan.vectors, larger(1, fitting));

  const double row_work = (double)columns.longest * (double)plan.vector_weights *
                          (double)ceil_div(plan.vectors, plan.parts);
  const int64_t job_rows = larger(kInPlaceRows, (int64_t)(kDepthwiseWork / row_work));
  plan.rows = Cut::into(ceil_div(rows.longest, job_rows), rows.longest);

  const double src = (double)rows.src_size * (double)columns.src_size * gather.src_channels,
               dst = (double)rows.dst_size * (double)columns.dst_size * gather.dst_channels;
  plan.fetches =
      (src + dst) * (double)(gather.n * gather.groups * stored_bytes(dtype)) > kFetchBytes;
  return plan;
}

}  // namespace torchconv::cpu

// Stage 0 of grouped_channels: the weights of a vector, and whether they are finite.
#pragma once

#include "cpu/common/pack_weights.h"
#include "cpu/grouped_channels/plan.h"

namespace torchconv::cpu {
namespace {

// [phase][c block][r, s][c][lanes], the lanes of one group after those of the other, zeros in surplus lanes.
template <class S, class A>
bool pack_groups(const Task& task, const Gather& gather, const GroupedPlan& plan, int64_t vector,
                 A* out) {
  const int64_t width = gather.dst_channels, groups = plan.dst_lanes / width;
  const int64_t count = smaller(groups, gather.groups - vector * groups);
  if (count * width < plan.lanes) fill_zero(out, plan.vector_weights);
  for (int64_t i = 0; i < count; ++i) {
    pack_lanes<S>(task, gather, vector * groups + i, 0, width, plan.lanes, 0, gather.src_channels,
                  out + i * width);
  }
  return all_finite(out, plan.vector_weights);
}

}  // namespace
}  // namespace torchconv::cpu

// Stage 0 of dense_channels: the weights of a panel as its tiles read them, and whether padding may be
// left out.
#pragma once

#include "cpu/common/pack_weights.h"
#include "cpu/common/run_rows.h"
#include "cpu/dense_channels/plan.h"
#include "cpu/dense_channels/tap_pairs.h"

namespace torchconv::cpu {
namespace {

// Packs one panel, slab by slab, and notes if padding may be left out.
template <class S, class A>
void pack_slabs(const Task& task, const Gather& gather, const ChannelPlan& plan, int64_t index,
                A* packed) {
  const ChannelPanels& panels = plan.panels;
  const int64_t group = index / panels.panels, panel = index % panels.panels;
  const int64_t begin = panels.begin(panel), end = panels.begin(panel + 1);
  const int64_t depth = gather.steps();
  A* out = packed + (group * panels.blocks + begin) * plan.lanes * depth;
  bool skip_padding = plan.padded;
  for (int64_t block = begin; block < end; block += kSlabBlocks<A>) {
    const int64_t lane = block * plan.lanes;
    const int64_t width = smaller(end - block, kSlabBlocks<A>) * plan.lanes;
    const int64_t valid = smaller(width, gather.dst_channels - lane);
    if constexpr (std::is_same_v<A, Pair>) {
      if (gather.pairs == InPairs::kTaps) {
        pack_tap_pairs(task, gather, group, lane, valid, width, out);
        out += depth * width;
        continue;
      }
    }
    skip_padding &= pack_panel<S>(task, gather, group, lane, valid, width, plan.c_chunk.size, out);
    out += depth * width;
  }
  ((Compute<A>*)packed)[plan.packed_size + index] = skip_padding;
}

}  // namespace
}  // namespace torchconv::cpu

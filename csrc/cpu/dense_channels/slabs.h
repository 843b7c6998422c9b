// The slabs of a job of dense_channels, which register tiles take one after the other, and their weights.
#pragma once

#include "cpu/common/activate.h"
#include "cpu/common/beyond_caches.h"
#include "cpu/common/run_rows.h"
#include "cpu/dense_channels/load.h"

namespace torchconv::cpu {
namespace {

template <class S, class A>
struct ChannelSlabs : ChannelSource {
  using T = Compute<S>;
  int64_t panel_begin, panel_end;
  bool past_caches;  // goes the result, as far as slabs have whole cache lines of it

  // What the lanes of a register tile hold, and which part of the sum is being added to it.
  struct Slab {
    int64_t blocks, width, valid, first_channel;
    bool skip_padding;
    bool direct;   // whole vectors in the result's own layout and type: its memory holds the sums
    bool rounded;  // the same of pairs: tiles store the last of their sums rounded
    bool first, last;
    Clamp clamp;       // then nothing else is to become of whole sums
    bool streams;      // whole lines of them go past the caches
    bool fetches;      // the source rows below, for all slabs
    Ahead<A> ahead;    // else: the weights that come next
    int64_t channels;  // source channels of this chunk
    T bias[kPanelBlocks * kLaneBlock<T>] = {};
  };

  ChannelSlabs(const Task& task, const Gather& gather, const ChannelPlan& plan, int64_t index)
      : ChannelSource(task, gather, plan, plan.source_of(index, gather)) {
    const int64_t piece = plan.piece_of(index, gather), panels = plan.panels.of_piece();
    panel_begin = piece * panels, panel_end = panel_begin + panels;
    const int64_t channels = gather.groups * gather.dst_channels;
    past_caches =
        gather.dst_channels % kLaneBlock<T> == 0 &&
        goes_past_caches((const S*)task.result,
                         gather.n * channels * gather.rows.dst_size * gather.columns.dst_size);
  }

  int64_t chunk_channels(int64_t chunk) const {
    return plan.c_chunk.length(chunk, gather.src_channels);
  }

  int64_t slab_blocks(int64_t panel, int64_t block) const {
    return smaller(plan.panels.begin(panel + 1) - block, kSlabBlocks<A>);
  }

  // f(slab, panel, block) for every slab of each group of this job, which begins with that block of that panel.
  template <class F>
  void each_slab(const F& f) {
    for (group = group_begin; group < group_end; ++group) {
      for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
        const int64_t end = plan.panels.begin(panel + 1);
        Slab slab;
        for (int64_t block = plan.panels.begin(panel); block < end; block += slab.blocks) {
          slab.blocks = slab_blocks(panel, block);
          f(slab, panel, block);
        }
      }
    }
  }

  void set_lanes(Slab& slab, int64_t block) const {
    slab.width = slab.blocks * plan.lanes;
    slab.valid = smaller(slab.width, gather.dst_channels - block * plan.lanes);
    slab.first_channel = group * gather.dst_channels + block * plan.lanes;
    const bool whole = gather.layout == Layout::kChannelsLast && slab.valid % kStoredLanes<A> == 0;
    slab.direct = whole && std::is_same_v<S, T> && !task.replaces_residual();
    slab.clamp = slab.direct && slab.last ? clamp_of(task) : Clamp::kNone;
    slab.streams = past_caches && slab.direct && slab.first && slab.last &&
                   slab.valid == slab.width && (slab.clamp != Clamp::kNone || !task.activates());
    slab.rounded = whole && std::is_same_v<A, Pair> && slab.last;
    if (task.bias) copy_span((const S*)task.bias + slab.first_channel, slab.bias, slab.valid);
  }

  // The packed weights of the slab that begins with `block`, for the source channels from c_begin on.
  const A* weights_of(const A* packed, int64_t block, int64_t blocks, int64_t c_begin) const {
    const int64_t before = (group * plan.panels.blocks + block) * gather.steps();
    return packed + (before + c_begin * gather.taps() * blocks) * plan.lanes;
  }

  // Those of the slab after this one, a part of them for each of its pixels.
  Ahead<A> weights_ahead(const A* packed, const Slab& slab, int64_t panel, int64_t block,
                         int64_t c_begin) const {
    if (plan.packed_size * (int64_t)sizeof(A) <= cost::kPackedKept) return {};
    block += slab.blocks;
    panel += block == plan.panels.begin(panel + 1);
    if (panel == panel_end) {
      if (slab.last) return {};
      panel = panel_begin, block = plan.panels.begin(panel), c_begin += slab.channels;
    }
    const int64_t blocks = slab_blocks(panel, block), taps = gather.taps();
    const int64_t channels = smaller(plan.c_chunk.size, gather.src_channels - c_begin);
    return {weights_of(packed, block, blocks, c_begin),
            ceil_div(channels * taps * blocks * plan.lanes, job_pixels())};
  }

  // What the next job copies of channels_last, a part of it for each pixel of each panel.
  Ahead<A> source_ahead(int64_t panel) const {
    const Axis& rows = gather.rows;
    const int64_t pixel = gather.single_channels();
    const int64_t row = gather.columns.src_size * pixel;
    const int64_t last = (row_begin + row_count - 1) * rows.src_step + rows.src_high;
    const int64_t end =
        (image_begin + images - 1) * rows.src_size + smaller(last + 1, rows.src_size);
    const int64_t bytes = images * row_count * rows.src_step * row * (int64_t)sizeof(S);
    const int64_t parts = plan.panels.of_piece() * job_pixels() * (int64_t)sizeof(A);
    const Ahead<A> ahead = {(const A*)((const S*)gather_source(task) + end * row),
                            ceil_div(bytes, parts)};
    return ahead.after((panel - panel_begin) * job_pixels());
  }

 private:
  int64_t job_pixels() const {
    return images * row_count * gather.columns.longest * gather.phases();
  }
};

}  // namespace
}  // namespace torchconv::cpu

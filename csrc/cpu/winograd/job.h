// One job of winograd: see algorithm.cpp.
#pragma once

#include "cpu/common/run_rows.h"
#include "cpu/winograd/load.h"
#include "cpu/winograd/packing.h"
#include "cpu/winograd/plan.h"
#include "cpu/winograd/store.h"
#include "cpu/winograd/store_dilated.h"
#include "cpu/winograd/store_folded.h"

namespace torchconv::cpu {
namespace {

struct ChannelOffsets {
  int64_t at[sum_order::kWinogradChannels];
  constexpr ChannelOffsets() : at() {
    for (int64_t c = 0; c < sum_order::kWinogradChannels; ++c) at[c] = c;
  }
};
constexpr ChannelOffsets kChannelOffsets;

template <class F, class S>
struct WinogradJob {
  using T = Compute<S>;
  using First = WinogradPlan::First;

  const Task& task;
  const Gather& gather;
  const WinogradPlan& plan;
  T *source, *window, *weights, *packed, *sums, *pixels;  // scratch memory

  WinogradJob(const Task& task, const Gather& gather, const WinogradPlan& plan, char* scratch)
      : task(task), gather(gather), plan(plan) {
    const auto& size = plan.scratch;
    source = (T*)scratch;
    window = source + size.source;
    weights = window + size.window;
    packed = weights + size.weights;
    sums = packed + size.packed;
    pixels = sums + size.sums;
  }

  // The tiles of units [begin, end) that are `first` tiles from the beginning of their group.
  void load_units(int64_t begin, int64_t end, int64_t first, int64_t chunk, T* group) const {
    for (int64_t unit = begin; unit < end;) {
      int64_t stop;
      const Segment segment(plan.grid, unit, end, stop);
      const int64_t tile = first + plan.grid.tiles_before(unit) - plan.grid.tiles_before(begin);
      load_segment<F, S>(task, gather, plan, segment, tile, chunk, window, group);
      unit = stop;
    }
  }

  // The products of one point, for a block of source channels. `ahead`: the operand of the next ones
  // that no earlier products have brought into the caches.
  void sum_point(int64_t tiles, int64_t block, int64_t width, const T* source, const T* weights,
                 T* sums, const Ahead<T>& ahead) const {
    Tile<T> tile;
    tile.partials = {plan.c_block.length(block, plan.channels)};
    tile.a = source + block * plan.block_pitch;
    tile.a_row = plan.c_pitch;
    tile.b = weights;
    tile.step = width;
    tile.offset = kChannelOffsets.at;
    tile.c = sums;
    tile.c_row = width;
    tile.sum = block ? Sum::kAdd : Sum::kStart;
    run_rows<T, Steps::kMatrix>(tile, tiles, width, ahead);
  }

  void store_group(int64_t group, int64_t panel, const T* sums) const {
    const int64_t first = plan.panel(panel).begin * plan.lanes, width = plan.panel_width(panel);
    if constexpr (kSpreads<F>) {
      FoldedStore<F, S>(task, gather, plan, first, width, pixels).run(plan.group(group), sums);
    } else {
      store_units(plan.group(group), first, width, sums);
    }
  }

  void store_units(const Range& units, int64_t first, int64_t width, const T* sums) const {
    T bias[cost::kWinogradPanelBlocks * kLaneBlock<T>] = {};
    if (task.bias)
      copy_span((const S*)task.bias + first, bias, smaller(width, gather.dst_channels - first));
    for (int64_t unit = units.begin; unit < units.end;) {
      int64_t stop;
      const Segment segment(plan.grid, unit, units.end, stop);
      const int64_t tile = plan.grid.tiles_before(unit) - plan.grid.tiles_before(units.begin);
      auto store = store_segment<F, S>;
      if constexpr (may_be_dilated<F>()) {
        if (plan.grid.dilated()) store = store_dilated_segment<F, S>;
      }
      store(task, gather, plan, segment, first, width, sums + tile * width,
            task.bias ? bias : nullptr, pixels);
      unit = stop;
    }
  }

  int64_t tiles_of(int64_t group) const {
    const Range units = plan.group(group);
    return plan.grid.tiles_before(units.end) - plan.grid.tiles_before(units.begin);
  }

  // Stage 0 where the weights come first: some channels of a panel.
  void pack_shared(int64_t index, T* shared) const {
    const int64_t parts = plan.c_block.count;
    const int64_t panel = index / parts, block = index % parts;
    const int64_t channels = plan.c_block.length(block, plan.channels);
    pack_winograd<F, S>(task, gather, plan, panel, plan.c_block.begin(block), channels, packed,
                        shared + plan.weights_at(panel, block));
  }

  // Stage 1: a group of tiles, all panels or some.
  void sum_group(int64_t group, Range panels, const T* shared) const {
    const Range units = plan.group(group);
    const int64_t tiles = tiles_of(group);
    const int64_t at_once = plan.by_blocks ? 1 : plan.c_block.count;  // blocks
    const int64_t chunks =
        plan.by_blocks ? plan.c_block.size / plan.c_chunk.size : plan.c_chunk.count;
    for (int64_t block = 0, end; block < plan.c_block.count; block = end) {
      end = block + at_once;
      const int64_t first = block / at_once * chunks;
      for (int64_t chunk = first; chunk < smaller(first + chunks, plan.c_chunk.count); ++chunk)
        load_units(units.begin, units.end, 0, chunk, source);
      for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
        T* const of_panel = sums + (panel - panels.begin) * plan.panel_pitch;
        sum_points(tiles, panel, {block, end}, shared, of_panel);
        if (end == plan.c_block.count) store_group(group, panel, of_panel);
      }
    }
  }

  // The products of all points, for these blocks of source channels.
  void sum_points(int64_t tiles, int64_t panel, Range blocks, const T* shared, T* sums) const {
    const int64_t width = plan.panel_width(panel), ahead = ceil_div(plan.c_pitch * width, tiles);
    const auto weights_at = [&](int point, int64_t block) {
      return shared + plan.weights_at(panel, block) + F::weight(point) * plan.weights_pitch();
    };
    for (int point = 0; point < F::kPoints; ++point) {
      for (int64_t block = blocks.begin; block < blocks.end; ++block) {
        const bool last = block + 1 == blocks.end;
        sum_point(
            tiles, block, width, source + point * plan.source_pitch, weights_at(point, block),
            sums + point * plan.sums_pitch,
            {last ? weights_at(point + 1, blocks.begin) : weights_at(point, block + 1), ahead});
      }
    }
  }

  // Stage 0 where the source comes first: a chunk of the channels of one unit.
  void load_shared(int64_t index, int64_t repeat, T* shared) const {
    const int64_t first_group = repeat * plan.repeat_groups;
    const int64_t unit = plan.group(first_group).begin + index / plan.c_chunk.count;
    const int64_t chunk = index % plan.c_chunk.count;
    if (unit >= plan.units) return;
    int64_t group = first_group;
    while (plan.group(group).end <= unit) ++group;
    if (group >= first_group + plan.repeat_groups) return;
    const int64_t tile =
        plan.grid.tiles_before(unit) - plan.grid.tiles_before(plan.group(group).begin);
    load_units(unit, unit + 1, tile, chunk,
               shared + (group - first_group) * F::kPoints * plan.source_pitch);
  }

  // Stage 1: a panel of a group.
  void sum_panel(int64_t in_repeat, int64_t panel, int64_t repeat, const T* shared) const {
    const int64_t group = repeat * plan.repeat_groups + in_repeat;
    if (group >= plan.groups) return;
    const T* const from = shared + in_repeat * F::kPoints * plan.source_pitch;
    const int64_t tiles = tiles_of(group), width = plan.panel_width(panel);
    for (int64_t block = 0; block < plan.c_block.count; ++block) {
      const int64_t channels = plan.c_block.length(block, plan.channels);
      pack_winograd<F, S>(task, gather, plan, panel, plan.c_block.begin(block), channels, packed,
                          weights);
      for (int point = 0; point < F::kPoints; ++point) {
        const T* const source = from + point * plan.source_pitch;
        sum_point(tiles, block, width, source, weights + F::weight(point) * plan.weights_pitch(),
                  sums + point * plan.sums_pitch,
                  {source + plan.source_pitch + block * plan.block_pitch, plan.c_pitch});
      }
    }
    store_group(group, panel, sums);
  }

  void run(const Job& job) const {
    T* const shared = (T*)job.shared;
    const bool weights_first = plan.first == First::kWeights;
    if (job.stage == 0)
      return weights_first ? pack_shared(job.index, shared)
                           : load_shared(job.index, job.repeat, shared);
    // Usually one group.
    const int64_t in_turn =
        weights_first ? plan.panel_shares : plan.repeat_groups / plan.image_groups;
    for (int64_t i = 0; i < plan.image_groups; ++i) {
      if (weights_first) {
        sum_group(job.index / in_turn * plan.image_groups + i,
                  share(job.index % in_turn, in_turn, plan.panels), shared);
      } else {
        sum_panel(job.index % in_turn * plan.image_groups + i, job.index / in_turn, job.repeat,
                  shared);
      }
    }
  }
};

template <class F, class GradInput = F>
void winograd(const Task& task, const Job& job) {
  const auto& [gather, plan] = *(const Planned<WinogradPlan>*)job.details;
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    if constexpr (!std::is_same_v<S, double>) {
      if (task.op == Op::kForward)
        return WinogradJob<F, S>(task, gather, plan, job.scratch).run(job);
      WinogradJob<GradInput, S>(task, gather, plan, job.scratch).run(job);
    }
  });
}

}  // namespace
}  // namespace torchconv::cpu

// One job of a convolution of integers.
#pragma once

#include "cpu/integer/load.h"
#include "cpu/integer/maps.h"
#include "cpu/integer/sum_quads.h"
#include "cpu/integer/tile.h"

namespace torchconv::cpu {
namespace {

// Some rows of an image and a group, of some panels of output channels.
struct IntegerTiles {
  const Task& task;
  const IntegerPlan& plan;
  const Gather& gather;
  int64_t n, group, first_row, rows;
  const char *patch, *packed;
  char* sums;

  IntegerSteps steps() const {
    const int64_t tap = gather.columns.dilation * plan.pixel_bytes();
    const int64_t r = gather.rows.kernel, s = gather.columns.kernel;
    if (gather.columns.dilation == 1) return {r, 1, s * plan.steps, plan.tap_row_bytes(), 0};
    return {r, s, plan.steps, plan.tap_row_bytes(), tap};
  }

  // Sums of [pixel][panel] to where the result has them.
  void store(int64_t first_channel, int64_t valid, int64_t pixel, int64_t count) const {
    const int64_t plane = gather.rows.dst_size * gather.columns.dst_size;
    const int64_t channels = gather.groups * gather.dst_channels;
    char* const result = (char*)task.result + 4 * n * channels * plane;
    if (gather.layout == Layout::kContiguous) {
      transpose_copy((const float*)sums, plan.panel, count, valid,
                     (float*)result + first_channel * plane + pixel, plane);
      return;
    }
    for (int64_t i = 0; i < count; ++i) {
      __builtin_memcpy(result + 4 * ((pixel + i) * channels + first_channel),
                       sums + 4 * i * plan.panel, (size_t)(4 * valid));
    }
  }

  void run_panel(int64_t panel) const {
    const int64_t index = group * plan.panels + panel;
    const int64_t first = panel * plan.panel, first_channel = group * gather.dst_channels + first;
    const int64_t valid = smaller(plan.panel, gather.dst_channels - first);
    const bool one_vector = valid <= Dot::kLanes;
    const bool in_place = gather.layout == Layout::kChannelsLast && valid % Dot::kLanes == 0;
    const int64_t channels = gather.groups * gather.dst_channels, width = gather.columns.dst_size;
    char* const result =
        (char*)task.result + 4 * (n * gather.rows.dst_size * width * channels + first_channel);
    IntegerTile tile{};
    tile.pixel_pitch = plan.patch.column_advance * plan.pixel_bytes();
    tile.weights = packed + index * plan.panel_bytes;
    tile.starts = packed + gather.groups * plan.panels * plan.panel_bytes + index * plan.panel * 4;
    tile.sums_pitch = 4 * (in_place ? channels : plan.panel);
    const IntegerSteps steps = this->steps();
    const bool join = plan.rows_join();
    const int64_t lines = join ? 1 : rows, line = join ? rows * width : width;
    for (int64_t i = 0; i < lines; ++i) {
      const char* const pixels = patch + i * plan.patch.row_advance * plan.patch_row_bytes();
      for (int64_t j = 0; j < line; j += kIntegerRun) {
        const int64_t count = smaller(kIntegerRun, line - j);
        const int64_t pixel = (first_row + i) * width + j;
        tile.pixels = pixels + j * tile.pixel_pitch;
        tile.sums = in_place ? result + 4 * pixel * channels : sums;
        sum_pixels(steps, tile, count, one_vector);
        if (!in_place) store(first_channel, valid, pixel, count);
      }
    }
  }
};

inline void integer_tiles(const Task& task, const IntegerPlan& plan, const Job& job) {
  if (job.stage == 0) return pack_integers(task, plan, job.index, job.shared, job.scratch);
  const Gather& gather = plan.gather;
  const int64_t piece = job.index % plan.pieces, source = job.index / plan.pieces;
  const int64_t part = source % plan.rows.count, image = source / plan.rows.count;
  const int64_t n = image / gather.groups, group = image % gather.groups;
  const int64_t first = plan.rows.begin(part), rows = plan.rows.length(part, gather.rows.longest);
  char *const patch = job.scratch, *const by_channels = patch + plan.patch_bytes;
  if (plan.is_signed) {
    load_integers<int8_t>(task, plan, n, group, first, rows, patch, by_channels);
  } else {
    load_integers<uint8_t>(task, plan, n, group, first, rows, patch, by_channels);
  }
  const IntegerTiles tiles{task,  plan, gather, n,          group,
                           first, rows, patch,  job.shared, by_channels + plan.row_bytes};
  const Range panels = share(piece, plan.pieces, plan.panels);
  for (int64_t i = panels.begin; i < panels.end; ++i) tiles.run_panel(i);
}

inline void integers(const Task& task, const Job& job) {
  const auto& plan = *(const IntegerPlan*)job.details;
  if (plan.way == IntegerPlan::Way::kTiles) return integer_tiles(task, plan, job);
  if (plan.way == IntegerPlan::Way::kQuads) return integer_quads<Dot>(task, plan, job);
  if (plan.is_signed) {
    integer_maps<int8_t>(task, plan, job);
  } else {
    integer_maps<uint8_t>(task, plan, job);
  }
}

}  // namespace
}  // namespace torchconv::cpu

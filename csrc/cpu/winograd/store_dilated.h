// The store stage of winograd where a dilation parts the pixels of a tile: row after row of tiles.
#pragma once

#include "cpu/winograd/store.h"

namespace torchconv::cpu {
namespace {

// As store_segment.
template <class F, class S>
void store_dilated_segment(const Task& task, const Gather& gather, const WinogradPlan& plan,
                           const Segment& segment, int64_t first, int64_t width,
                           const Compute<S>* sums, const Compute<S>* bias, Compute<S>* space) {
  using T = Compute<S>;
  constexpr int kTile = F::Across::kTile;
  const TileAxis &down = plan.grid.down, &across = plan.grid.across;
  const bool in_place = gather.layout == Layout::kChannelsLast;
  const Strides at = dense(gather.layout, gather.dst_channels, down.size, across.size);
  const int64_t valid = smaller(width, gather.dst_channels - first);
  const int64_t left = across.first(segment.column);
  // Pixels of a row that are collected in `space`, in contiguous layout: those of the segment, or of a tile.
  const bool span = !in_place && plan.grid.units_are_spans();
  const int64_t line = span ? smaller(plan.grid.row_cut.size * kTile, across.size - left) : kTile;
  S* const image = (S*)task.result + segment.image * at.image + first * at.channel;
  // `pixels` of a row from `from` on to the result.
  const auto store_line = [&](const T* from, S* to, int64_t pixels) {
    transpose_copy(from, width, pixels, valid, to, at.channel);
    if (task.activates()) activate(task, to, valid, at.channel, pixels);
  };
  const auto store_in_place = [&](S* to, const TilePlace<S>& place, int64_t ahead) {
    if constexpr (std::is_same_v<S, T>) {
      if (task.replaces_residual()) {
        const TilePlace<T> aside = {space, line * width, width, place.rows, place.columns, width};
        store_tile<F>(sums, plan.sums_pitch, bias, aside, 0);
        for (int64_t i = 0; i < place.rows; ++i) {
          activate<S>(task, space + i * aside.row, width, to + i * place.row, place.columns,
                      place.column, valid);
        }
        return;
      }
    }
    store_tile<F>(sums, plan.sums_pitch, bias, place, ahead);
    if (!task.activates()) return;
    for (int64_t i = 0; i < place.rows; ++i)
      activate(task, to + i * place.row, place.columns, place.column, valid);
  };
  for (int64_t row = segment.row; row < segment.row + segment.rows; ++row) {
    S* const top = image + down.first(row) * at.row;
    const int64_t rows = down.length(row), next_row = down.step * at.row;
    for (int64_t column = segment.column; column < segment.column + segment.columns;
         ++column, sums += width) {
      const int64_t x = across.first(column), columns = across.length(column);
      S* const to = top + x * at.column;
      if (in_place) {
        store_in_place(to, {to, next_row, across.step * at.column, rows, columns, valid},
                       (across.first(column + 1) - x) * at.column);
        continue;
      }
      if (span) {
        const TilePlace<T> collected = {
            space + (x - left) * width, line * width, across.step * width, rows, columns, width};
        store_tile<F>(sums, plan.sums_pitch, bias, collected, width);
        continue;
      }
      const TilePlace<T> alone = {space, line * width, width, rows, columns, width};
      store_tile<F>(sums, plan.sums_pitch, bias, alone, 0);
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < columns; ++j) {
          store_line(space + i * alone.row + j * width, to + i * next_row + j * across.step, 1);
        }
      }
    }
    if (!span) continue;
    for (int64_t i = 0; i < rows; ++i)
      store_line(space + i * line * width, top + i * next_row + left, line);
  }
}

}  // namespace
}  // namespace torchconv::cpu

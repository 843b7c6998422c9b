// The load stage of winograd: tiles of the source in any dtype and layout become B^T d B,
// [point][tile][channel].
#pragma once

#include "cpu/winograd/load_tile.h"
#include "cpu/winograd/plan.h"

namespace torchconv::cpu {
namespace {

// A segment's tiles, for the source channels of one chunk and all parts of the kernel; its first tile is number
// `tile` of the group.
template <class F, class S>
void load_segment(const Task& task, const Gather& gather, const WinogradPlan& plan,
                  const Segment& segment, int64_t tile, int64_t chunk, Compute<S>* space,
                  Compute<S>* group) {
  using T = Compute<S>;
  constexpr int kAdvance = F::Down::kAdvance, kOverlap = F::Down::kReach - kAdvance;
  const auto image = source_image<S>(task, gather, segment.image);
  const TileAxis &down = plan.grid.down, &across = plan.grid.across;
  const int64_t left = across.first(segment.column),
                right = across.first(segment.column + segment.columns - 1);
  const bool odd_down = gather.rows.padding % 2, odd_across = gather.columns.padding % 2;
  const int64_t at_once = plan.grid.dilated() ? 1 : segment.rows;
  for (int64_t row = 0; row < segment.rows; row += at_once) {
    const PatchBox box = {
        TileAxis::in_source(down.first(segment.row + row), F::kDown) + gather.rows.src_low -
            gather.margins.top,
        at_once * kAdvance + kOverlap + plan.parts.last_row(),
        down.step,
        TileAxis::in_source(left, F::kAcross) + gather.columns.src_low - gather.margins.left,
        TileAxis::in_source(right - left, F::kAcross) +
            (F::Across::kReach - 1 + plan.parts.last_column()) * across.step + 1,
        1,
        plan.c_chunk.begin(chunk),
        plan.c_chunk.length(chunk, gather.src_channels)};
    with_window(image, box, space, [&](const auto& window) {
      for (int64_t part = 0; part < plan.parts.count(); ++part) {
        const PartTaps taps = plan.parts.taps(part);
        const int64_t y = box.row + taps.row * down.step,
                      x = box.column + taps.column * across.step;
        T* to = group + tile * plan.c_pitch;
        for (int64_t i = 0; i < at_once; ++i) {
          for (int64_t j = 0; j < segment.columns; ++j, to += plan.c_pitch) {
            load_tile<SourceTile<F>>(
                window,
                {y + i * kAdvance,
                 x + TileAxis::in_source(across.first(segment.column + j) - left, F::kAcross),
                 down.step, across.step, odd_down, odd_across},
                box.channels,
                {to, part * plan.part_channels + box.channel, plan.c_block.size, plan.block_pitch},
                plan.source_pitch);
          }
        }
      }
    });
    tile += at_once * segment.columns;
  }
}

}  // namespace
}  // namespace torchconv::cpu

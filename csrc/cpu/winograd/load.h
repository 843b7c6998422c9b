// The load stage of winograd: tiles of the source in any dtype and layout become B^T d B,
// [point][tile][channel].
#pragma once

#include "cpu/winograd/load_tile.h"
#include "cpu/winograd/plan.h"

namespace torchconv::cpu {
namespace {

// A segment's tiles, for the source channels of one chunk; its first tile is number `tile` of the group.
template <class F, class S>
void load_segment(const Task& task, const Gather& gather, const WinogradPlan& plan,
                  const Segment& segment, int64_t tile, int64_t chunk, Compute<S>* space,
                  Compute<S>* group) {
  constexpr int kTile = F::kTile, kOverlap = F::kTaps - 1;
  const auto image = source_image<S>(task, gather, segment.image);
  const PatchBox box = {segment.row * kTile + gather.rows.src_low - gather.margins.top,
                        segment.rows * kTile + kOverlap,
                        1,
                        segment.column * kTile + gather.columns.src_low - gather.margins.left,
                        segment.columns * kTile + kOverlap,
                        1,
                        plan.c_chunk.begin(chunk),
                        plan.c_chunk.length(chunk, gather.src_channels)};
  with_window(image, box, space, [&](const auto& window) {
    for (int64_t i = 0; i < segment.rows; ++i) {
      for (int64_t j = 0; j < segment.columns; ++j, ++tile) {
        load_tile<SourceTile<F::kSide>>(
            window, box.row + i * kTile, box.column + j * kTile, box.channels,
            {group + tile * plan.c_pitch, box.channel, plan.c_block.size, plan.block_pitch},
            plan.source_pitch);
      }
    }
  });
}

}  // namespace
}  // namespace torchconv::cpu

// The load stage of winograd: tiles of the source in any dtype and layout become B^T d B,
// [point][tile][channel].
#pragma once

#include "cpu/winograd/load_tile.h"
#include "cpu/winograd/plan.h"

namespace torchconv::cpu {
namespace {

// A segment's tiles, for the source channels of one chunk; its first tile is number `tile` of the group.
template <int kTile, class S>
void load_segment(const Task& task, const Gather& gather, const WinogradPlan& plan,
                  const Segment& segment, int64_t tile, int64_t chunk, Compute<S>* space,
                  Compute<S>* group) {
  const int64_t height = gather.rows.src_size, width = gather.columns.src_size;
  const Image<S> image = {
      (const S*)gather_source(task) + segment.image * gather.src_channels * height * width,
      gather.layout, gather.src_channels, height, width};
  const PatchBox box = {segment.row * kTile + gather.rows.src_low,
                        segment.rows * kTile + 2,
                        1,
                        segment.column * kTile + gather.columns.src_low,
                        segment.columns * kTile + 2,
                        1,
                        plan.c_chunk.begin(chunk),
                        plan.c_chunk.length(chunk, gather.src_channels)};
  with_window(image, box, space, [&](const auto& window) {
    for (int64_t i = 0; i < segment.rows; ++i) {
      for (int64_t j = 0; j < segment.columns; ++j, ++tile) {
        load_tile<SourceTile<kTile>>(
            window, box.row + i * kTile, box.column + j * kTile, box.channels,
            {group + tile * plan.c_pitch, box.channel, plan.c_block.size, plan.block_pitch},
            plan.source_pitch);
      }
    }
  });
}

}  // namespace
}  // namespace torchconv::cpu

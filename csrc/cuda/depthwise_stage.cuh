// Tiles of planes in shared memory: what the depthwise kernels of contiguous tensors read from.
#pragma once

#include <type_traits>

#include "cuda/depthwise_task.h"

namespace torchconv::cuda {

// How a block is laid over planes: `across` and `down` a tile, and over several planes. What these
// count, threads or warps, is up to the kernel.
struct PlaneTiles {
  int across, down, planes;
  int staged_rows, staged_columns, staged_stride;  // of one plane; stride: elements of a row
  int tiles_across, tiles_down;
};

struct PlaneStage {
  PlaneTiles tiles;
  Divider by_across, by_down, by_staged_rows;
  int lanes;  // that share a row while staging: a power of two
  Divider by_lanes;
};

inline PlaneStage plane_stage(const PlaneTiles& tiles) {
  const int lanes = tiles.staged_columns > 16 ? 16 : 8;
  return {tiles, Divider(tiles.across), Divider(tiles.down), Divider(tiles.staged_rows),
          lanes, Divider(lanes)};
}

// Fills staged[plane][row][column] with the source at (top + row, left + column), zero outside, as
// it is or widened; plane(i) is the first element of the i-th plane, or null.
template <class S, class Staged, class Plane>
__device__ __forceinline__ void stage_planes(Staged* staged, const PlaneStage& stage,
                                             const Plane& plane, int top, int left, int height,
                                             int width) {
  const PlaneTiles& tiles = stage.tiles;
  int lane;
  const int first = stage.by_lanes.divide(thread_index(), lane);
  for (int line = first; line < tiles.planes * tiles.staged_rows;
       line += kDepthwiseThreads / stage.lanes) {
    int row;
    const S* const source = plane(stage.by_staged_rows.divide(line, row));
    const int y = top + row;
    const bool inside = source && (unsigned)y < (unsigned)height;
    const S* const from = source + (int64_t)(inside ? y : 0) * width;
    for (int column = lane; column < tiles.staged_columns; column += stage.lanes) {
      const int x = left + column;
      Staged v{};
      if (inside && (unsigned)x < (unsigned)width) {
        if constexpr (std::is_same_v<Staged, S>) {
          v = from[x];
        } else {
          v = to_compute(from[x]);
        }
      }
      staged[line * tiles.staged_stride + column] = v;
    }
  }
}

}  // namespace torchconv::cuda

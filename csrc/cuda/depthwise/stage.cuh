// Tiles of planes in shared memory: what the depthwise kernels of contiguous tensors read from.
#pragma once

#include <type_traits>

#include "cuda/depthwise/task.h"

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

// The same by asynchronous copies of `Bytes` that lie inside or outside of a row as a whole; the
// caller waits for them. `anywhere` is an address as aligned as the source's.
template <int Bytes, class S, class Plane>
__device__ __forceinline__ void copy_planes(S* staged, const PlaneStage& stage, const Plane& plane,
                                            const S* anywhere, int top, int left, int height,
                                            int width) {
  constexpr int kElements = Bytes / sizeof(S);
  const PlaneTiles& tiles = stage.tiles;
  int lane;
  const int first = stage.by_lanes.divide(thread_index(), lane);
  for (int line = first; line < tiles.planes * tiles.staged_rows;
       line += kDepthwiseThreads / stage.lanes) {
    int row;
    const S* const source = plane(stage.by_staged_rows.divide(line, row));
    const int y = top + row;
    const bool inside = source && (unsigned)y < (unsigned)height;
    const S* const from = inside ? source + (int64_t)y * width : anywhere;
    for (int column = lane * kElements; column < tiles.staged_columns;
         column += stage.lanes * kElements) {
      const int x = left + column;
      const bool copied = inside && (unsigned)x < (unsigned)width;
      copy_async<Bytes>(staged + line * tiles.staged_stride + column, copied ? from + x : anywhere,
                        copied);
    }
  }
}

// The widest copies that rows of `width` and a tile that begins at `left` allow; 0 if none do.
inline int copy_bytes(const void* source, int64_t width, int64_t left) {
  for (int elements = 8; elements > 1; elements /= 2) {
    if (width % elements == 0 && left % elements == 0 &&
        reinterpret_cast<uintptr_t>(source) % (2 * elements) == 0)
      return 2 * elements;
  }
  return 0;
}

// Elements of two bytes as they are, in the widest way; all have arrived at the next barrier.
template <class S, class Plane>
__device__ __forceinline__ void stage_halves(S* staged, const PlaneStage& stage, int bytes,
                                             const Plane& plane, const S* anywhere, int top,
                                             int left, int height, int width) {
  if (bytes == 16) {
    copy_planes<16>(staged, stage, plane, anywhere, top, left, height, width);
  } else if (bytes == 8) {
    copy_planes<8>(staged, stage, plane, anywhere, top, left, height, width);
  } else if (bytes == 4) {
    copy_planes<4>(staged, stage, plane, anywhere, top, left, height, width);
  } else {
    stage_planes<S>(staged, stage, plane, top, left, height, width);
  }
  commit_copies();
}

}  // namespace torchconv::cuda

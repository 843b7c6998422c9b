// Halves of planes into shared memory as they are, by asynchronous copies, with as many threads to a
// row as leave few of them idle: any number, while those of stage.cuh are a power of two.
#pragma once

#include "cuda/depthwise/stage.cuh"

namespace torchconv::cuda {

// `lanes` threads share a row: any number of them.
struct RowCopies : PlaneStage {
  int bytes;    // of one copy; 2: element by element, without waiting
  int copies;   // of a row
  int strands;  // rows at a time
};

inline RowCopies row_copies(const PlaneTiles& tiles, int bytes) {
  RowCopies r{};
  static_cast<PlaneStage&>(r) = plane_stage(tiles);
  r.bytes = bytes ? bytes : 2;
  r.copies = (int)ceil_div(tiles.staged_columns * 2, r.bytes);
  int64_t least = INT64_MAX;
  for (int turns = 1; turns <= r.copies; ++turns) {
    const int lanes = (int)ceil_div(r.copies, turns);
    if (lanes > kDepthwiseThreads) continue;
    const int strands = kDepthwiseThreads / lanes;
    const int64_t needed = turns * ceil_div(tiles.planes * tiles.staged_rows, strands);
    if (needed < least) least = needed, r.lanes = lanes, r.strands = strands;
  }
  r.by_lanes = Divider(r.lanes);
  return r;
}

// The first column of the stage lies `shift` before `origin`, at a multiple of as many elements as
// the rows have too.
inline int shift_of(int64_t origin, int64_t width) {
  for (int elements = 8; elements > 1; elements /= 2) {
    if (width % elements == 0) return (int)((origin % elements + elements) % elements);
  }
  return 0;
}

// One way of copy_rows: Bytes is 2, 4, 8 or 16.
template <int Bytes, class S, class Plane>
__device__ __forceinline__ void copy_rows_by(S* staged, const RowCopies& r, const Plane& plane,
                                             const S* anywhere, int top, int left, int height,
                                             int width) {
  constexpr int kElements = Bytes / sizeof(S);
  const PlaneTiles& tiles = r.tiles;
  int lane;
  const int strand = r.by_lanes.divide(thread_index(), lane);
  if (strand >= r.strands) return;
  for (int line = strand; line < tiles.planes * tiles.staged_rows; line += r.strands) {
    int row;
    const S* const source = plane(r.by_staged_rows.divide(line, row));
    const int y = top + row;
    const bool inside = source && (unsigned)y < (unsigned)height;
    const S* const from = inside ? source + (int64_t)y * width : anywhere;
    S* const to = staged + line * tiles.staged_stride;
    for (int copy = lane; copy < r.copies; copy += r.lanes) {
      const int x = left + copy * kElements;
      const bool copied = inside && (unsigned)x < (unsigned)width;
      if constexpr (Bytes == sizeof(S)) {
        to[copy] = copied ? from[x] : S{};
      } else {
        copy_async<Bytes>(to + copy * kElements, copied ? from + x : anywhere, copied);
      }
    }
  }
}

// Fills staged[plane][row][column] with the source at (top + row, left + column), zero outside;
// plane(i) is the first element of the i-th plane, or null. Copies lie inside or outside of a row as
// a whole; the caller waits for them. `anywhere` is an address as aligned as the source's.
template <class S, class Plane>
__device__ __forceinline__ void copy_rows(S* staged, const RowCopies& r, const Plane& plane,
                                          const S* anywhere, int top, int left, int height,
                                          int width) {
  if (r.bytes == 16) {
    copy_rows_by<16>(staged, r, plane, anywhere, top, left, height, width);
  } else if (r.bytes == 8) {
    copy_rows_by<8>(staged, r, plane, anywhere, top, left, height, width);
  } else if (r.bytes == 4) {
    copy_rows_by<4>(staged, r, plane, anywhere, top, left, height, width);
  } else {
    copy_rows_by<2>(staged, r, plane, anywhere, top, left, height, width);
  }
  commit_copies();
}

}  // namespace torchconv::cuda

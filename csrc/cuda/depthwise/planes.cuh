// Depthwise with square kernels without gaps, planes in memory (contiguous). A block stages tiles of
// a few planes in shared memory, widened and padded; a thread computes a patch of kPatchRows x 4
// pixels, reading each row of its window as vectors, once for all rows of the patch it meets.
#pragma once

#include "cuda/depthwise/stage.cuh"

namespace torchconv::cuda {

constexpr int kPatchColumns = 4;
constexpr int kStagedBytes = 20 * 1024;

template <int Stride>
struct Patch {
  static constexpr int kRows = Stride == 1 ? 4 : 2;
};

template <class S, int Size, int Stride>
PlaneTiles plane_tiles(int64_t height, int64_t width) {
  constexpr int kRows = Patch<Stride>::kRows;
  const int capacity = kStagedBytes / sizeof(Compute<S>);
  PlaneTiles t;
  t.across = power_of_two(ceil_div(width, kPatchColumns), 8);
  t.down = power_of_two(ceil_div(height, kRows), kDepthwiseThreads / t.across);
  for (;; t.down /= 2) {
    t.staged_rows = (t.down * kRows - 1) * Stride + Size;
    t.staged_columns = (t.across * kPatchColumns - 1) * Stride + Size;
    t.staged_stride = (t.staged_columns + 3) / 4 * 4;
    if (t.staged_rows * t.staged_stride <= capacity) break;
  }
  t.planes = kDepthwiseThreads / (t.across * t.down);
  while (t.planes * t.staged_rows * t.staged_stride > capacity) t.planes /= 2;
  t.tiles_across = (int)ceil_div(width, t.across * kPatchColumns);
  t.tiles_down = (int)ceil_div(height, t.down * kRows);
  return t;
}

// Neighbours in a staged row that begin at a multiple of four.
template <class Sum, int Count>
struct StagedRow {
  static constexpr int kVector = Vector<Sum>::kSize, kVectors = (Count + kVector - 1) / kVector;
  Sum at[kVectors * kVector];

  __device__ __forceinline__ explicit StagedRow(const Sum* from) {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const Vector<Sum> v = read_vector(from + i * kVector);
#pragma unroll
      for (int e = 0; e < kVector; ++e) at[i * kVector + e] = v.at[e];
    }
  }
};

// A thread's place among the patches of a block.
struct PatchPlace {
  int plane, row, column;  // row and column in the tile, of the first pixel
};
template <int Stride>
__device__ __forceinline__ PatchPlace patch_place(const PlaneStage& stage) {
  int across, down;
  const int plane = stage.by_down.divide(stage.by_across.divide(thread_index(), across), down);
  return {plane, down * Patch<Stride>::kRows, across * kPatchColumns};
}

template <class S>
struct StagedMemory {
  alignas(16) Compute<S> staged[kStagedBytes / sizeof(Compute<S>)];
};

struct DepthwisePlanesTask : DepthwiseTask {
  Window window;
  PlaneStage stage;
  int64_t planes;
  Divider by_tiles, by_tiles_across;
  LongDivider by_channels;
  bool vectors;  // four pixels can be stored at once
};

// Blocks that share a multiprocessor: what registers allow.
template <class S>
constexpr int kPlanesBlocks = sizeof(S) == 8 ? 2 : 4;

template <class S, int Size, int Stride>
__global__ __launch_bounds__(kDepthwiseThreads,
                             kPlanesBlocks<S>) void depthwise_planes_kernel(DepthwisePlanesTask t) {
  using Sum = Compute<S>;
  constexpr int kRows = Patch<Stride>::kRows;
  Sum* const staged = shared_memory<StagedMemory<S>>().staged;
  const PlaneTiles& tiles = t.stage.tiles;
  int tile, tile_column;
  const int64_t first_plane = (int64_t)t.by_tiles.divide(block_index().x, tile) * tiles.planes;
  const int tile_row = t.by_tiles_across.divide(tile, tile_column);
  const int top = tile_row * tiles.down * kRows, left = tile_column * tiles.across * kPatchColumns;
  const int64_t plane_size = (int64_t)t.source_height * t.source_width;
  stage_planes<S>(
      staged, t.stage,
      [&](int i) {
        return first_plane + i < t.planes ? (const S*)t.source + (first_plane + i) * plane_size
                                          : nullptr;
      },
      top * Stride + t.window.origin_h, left * Stride + t.window.origin_w, t.source_height,
      t.source_width);
  sync_block();

  const PatchPlace place = patch_place<Stride>(t.stage);
  const int64_t plane = first_plane + place.plane;
  const int row = top + place.row, column = left + place.column;
  if (place.plane >= tiles.planes || plane >= t.planes || row >= t.height || column >= t.width)
    return;
  int64_t channel;
  t.by_channels.divide(plane, channel);
  const S* const filter = (const S*)t.weight + channel * t.weight_k + t.window.first_tap;
  Sum w[Size][Size];
#pragma unroll
  for (int r = 0; r < Size; ++r) {
#pragma unroll
    for (int s = 0; s < Size; ++s)
      w[r][s] = to_compute(filter[r * t.window.tap_row + s * t.window.tap_column]);
  }
  Sum sums[kRows][kPatchColumns] = {};
  const Sum* const window =
      staged + (place.plane * tiles.staged_rows + place.row * Stride) * tiles.staged_stride +
      place.column * Stride;
#pragma unroll
  for (int y = 0; y < (kRows - 1) * Stride + Size; ++y) {
    const StagedRow<Sum, (kPatchColumns - 1) * Stride + Size> line(window +
                                                                   y * tiles.staged_stride);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int r = y - i * Stride;
      if (r < 0 || r >= Size) continue;
#pragma unroll
      for (int s = 0; s < Size; ++s) {
#pragma unroll
        for (int j = 0; j < kPatchColumns; ++j)
          sums[i][j] = fused(w[r][s], line.at[j * Stride + s], sums[i][j]);
      }
    }
  }
  const Sum bias = t.bias ? to_compute(((const S*)t.bias)[channel]) : Sum(0);
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    if (row + i >= t.height) break;
    S* const to = (S*)t.result + (plane * t.height + row + i) * t.width + column;
    struct alignas(kPatchColumns * sizeof(S)) Four {
      S at[kPatchColumns];
    } four;
#pragma unroll
    for (int j = 0; j < kPatchColumns; ++j) from_compute(&four.at[j], sums[i][j] + bias);
    if (t.vectors) {
      *reinterpret_cast<Four*>(to) = four;
      continue;
    }
#pragma unroll
    for (int j = 0; j < kPatchColumns; ++j) {
      if (column + j < t.width) to[j] = four.at[j];
    }
  }
}

template <class S, int Size, int Stride>
cudaError_t launch_depthwise_planes(const Task& task, cudaStream_t stream) {
  DepthwisePlanesTask t;
  static_cast<DepthwiseTask&>(t) = depthwise_task(task);
  const PlaneTiles tiles = plane_tiles<S, Size, Stride>(t.height, t.width);
  t.window = window_of(t);
  t.stage = plane_stage(tiles);
  t.planes = t.images * t.channels;
  t.by_tiles = Divider(tiles.tiles_across * tiles.tiles_down);
  t.by_tiles_across = Divider(tiles.tiles_across);
  t.by_channels = LongDivider(t.channels);
  t.vectors = t.width % kPatchColumns == 0 &&
              reinterpret_cast<uintptr_t>(t.result) % (kPatchColumns * sizeof(S)) == 0;
  const int64_t blocks = ceil_div(t.planes, tiles.planes) * tiles.tiles_across * tiles.tiles_down;
  return launch<kDepthwiseThreads>(depthwise_planes_kernel<S, Size, Stride>,
                                   Index3{(int)blocks, 1, 1}, stream, t);
}

}  // namespace torchconv::cuda

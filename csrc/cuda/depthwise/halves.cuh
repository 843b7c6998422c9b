// Depthwise with square kernels without gaps, half types, planes in memory: planes.cuh with the halves
// staged as they are, by asynchronous copies, and widened as a thread reads them, and with tiles that
// are as wide and high as the result asks for, no power of two.
#pragma once

#include "cuda/depthwise/planes.cuh"
#include "cuda/depthwise/row_copies.cuh"

namespace torchconv::cuda {

constexpr int kHalvesBytes = 20 * 1024;
constexpr int kMostAcross = 16, kMostDown = 32;  // patches of a tile

// `shift`: columns of the stage before the first window.
template <int Size, int Stride>
PlaneTiles half_tiles(int64_t height, int64_t width, int shift) {
  constexpr int kRows = Patch<Stride>::kRows;
  const int64_t patches_across = ceil_div(width, kPatchColumns);
  const int64_t patches_down = ceil_div(height, kRows);
  PlaneTiles t;
  t.across = (int)ceil_div(patches_across, ceil_div(patches_across, kMostAcross));
  // Each of several tiles begins at a multiple of eight columns.
  if (t.across < patches_across) t.across += t.across % 2;
  const int64_t most_down = smaller(kDepthwiseThreads / t.across, kMostDown);
  t.down = (int)ceil_div(patches_down, ceil_div(patches_down, most_down));
  t.tiles_across = (int)ceil_div(patches_across, t.across);
  t.tiles_down = (int)ceil_div(patches_down, t.down);
  t.staged_rows = (t.down * kRows - 1) * Stride + Size;
  t.staged_columns = shift + (t.across * kPatchColumns - 1) * Stride + Size;
  t.staged_stride = (t.staged_columns + 1 + 7) / 8 * 8;  // the last pair may be half a window's
  t.planes = kDepthwiseThreads / (t.across * t.down);
  while (t.planes * t.staged_rows * t.staged_stride * 2 > kHalvesBytes) --t.planes;
  return t;
}

// `Count` neighbours in a staged row, the first of them the second of its pair where `Odd`.
template <class S, int Count, bool Odd>
struct StagedHalves {
  float at[Count];

  __device__ __forceinline__ explicit StagedHalves(const S* from) {
    constexpr int kPairs = (Count + Odd + 1) / 2;
    struct alignas(4) Pair {
      S at[2];
    } pairs[kPairs];
#pragma unroll
    for (int i = 0; i < kPairs; ++i) pairs[i] = reinterpret_cast<const Pair*>(from - Odd)[i];
#pragma unroll
    for (int i = 0; i < Count; ++i) at[i] = to_compute(pairs[(i + Odd) / 2].at[(i + Odd) % 2]);
  }
};

struct DepthwiseHalvesTask : DepthwiseTask {
  Window window;
  RowCopies copies;
  int shift;
  int64_t planes;
  Divider by_tiles, by_tiles_across;
  LongDivider by_channels;
  bool vectors;  // four pixels can be stored at once
};

// Odd: whether `shift` is.
template <class S, int Size, int Stride, bool Odd>
__global__ __launch_bounds__(kDepthwiseThreads,
                             4) void depthwise_halves_kernel(DepthwiseHalvesTask t) {
  constexpr int kRows = Patch<Stride>::kRows;
  struct Memory {
    alignas(16) S staged[kHalvesBytes / sizeof(S)];
  };
  S* const staged = shared_memory<Memory>().staged;
  const PlaneTiles& tiles = t.copies.tiles;
  int tile, tile_column;
  const int64_t first_plane = (int64_t)t.by_tiles.divide(block_index().x, tile) * tiles.planes;
  const int tile_row = t.by_tiles_across.divide(tile, tile_column);
  const int top = tile_row * tiles.down * kRows, left = tile_column * tiles.across * kPatchColumns;
  const int64_t plane_size = (int64_t)t.source_height * t.source_width;
  copy_rows<S>(
      staged, t.copies,
      [&](int i) {
        return first_plane + i < t.planes ? (const S*)t.source + (first_plane + i) * plane_size
                                          : nullptr;
      },
      (const S*)t.source, top * Stride + t.window.origin_h,
      left * Stride + t.window.origin_w - t.shift, t.source_height, t.source_width);

  const PatchPlace place = patch_place<Stride>(t.copies);
  const int64_t plane = first_plane + place.plane;
  const int row = top + place.row, column = left + place.column;
  const bool exists =
      place.plane < tiles.planes && plane < t.planes && row < t.height && column < t.width;
  int64_t channel = 0;
  if (exists) t.by_channels.divide(plane, channel);
  // While the copies are under way.
  const S* const filter = (const S*)t.weight + channel * t.weight_k + t.window.first_tap;
  float w[Size][Size];
#pragma unroll
  for (int r = 0; r < Size; ++r) {
#pragma unroll
    for (int s = 0; s < Size; ++s)
      w[r][s] = to_compute(filter[r * t.window.tap_row + s * t.window.tap_column]);
  }
  wait_copies<0>();
  sync_block();
  if (!exists) return;

  float sums[kRows][kPatchColumns] = {};
  const S* const window =
      staged + (place.plane * tiles.staged_rows + place.row * Stride) * tiles.staged_stride +
      place.column * Stride + t.shift;
#pragma unroll
  for (int y = 0; y < (kRows - 1) * Stride + Size; ++y) {
    const StagedHalves<S, (kPatchColumns - 1) * Stride + Size, Odd> line(window +
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
  const float bias = t.bias ? to_compute(((const S*)t.bias)[channel]) : 0.0f;
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
cudaError_t launch_depthwise_halves(const Task& task, cudaStream_t stream) {
  DepthwiseHalvesTask t;
  static_cast<DepthwiseTask&>(t) = depthwise_task(task);
  t.window = window_of(t);
  t.shift = shift_of(t.window.origin_w, t.source_width);
  const PlaneTiles tiles = half_tiles<Size, Stride>(t.height, t.width, t.shift);
  t.copies = row_copies(tiles, copy_bytes(t.source, t.source_width, t.window.origin_w - t.shift));
  t.planes = t.images * t.channels;
  t.by_tiles = Divider(tiles.tiles_across * tiles.tiles_down);
  t.by_tiles_across = Divider(tiles.tiles_across);
  t.by_channels = LongDivider(t.channels);
  t.vectors = t.width % kPatchColumns == 0 &&
              reinterpret_cast<uintptr_t>(t.result) % (kPatchColumns * sizeof(S)) == 0;
  const int64_t blocks = ceil_div(t.planes, tiles.planes) * tiles.tiles_across * tiles.tiles_down;
  return launch<kDepthwiseThreads>(t.shift % 2 ? depthwise_halves_kernel<S, Size, Stride, true>
                                               : depthwise_halves_kernel<S, Size, Stride, false>,
                                   Index3{(int)blocks, 1, 1}, stream, t);
}

}  // namespace torchconv::cuda

// The load stage of winograd: tiles of the source in any dtype and layout become B^T d B,
// [point][tile][channel].
#pragma once

#include "cpu/common/load_patch.h"
#include "cpu/winograd/plan.h"
#include "cpu/winograd/transforms.h"

namespace torchconv::cpu {
namespace {

// Pixels [top, bottom) x [left, right) of an image, channels side by side, among zeros.
template <class In>
struct Window {
  const In* data;  // of pixel (top, left)
  int64_t top, bottom, left, right;
  int64_t row, column;  // elements from one to the next
};

// One block of lanes: out[point * pitch] = (B^T d B)[point].
template <int kTile, class In>
void transform_source(const In* in, int64_t row, int64_t column, Compute<In>* out, int64_t pitch) {
  using V = Simd<Compute<In>>;
  constexpr int kSide = kTile + 2;
  for (int64_t lane = 0; lane < kLaneBlock<Compute<In>>; lane += V::kLanes) {
    transform_both_axes<V, kSide, kSide>(
        [](const auto& d, auto& values) { source_transform<V>(d, values); },
        [&](int i, int j) { return V::load(in + lane + i * row + j * column); },
        [&](int i, int j, typename V::Vec value) {
          V::store(out + lane + (i * kSide + j) * pitch, value);
        });
  }
}

// The channels [c, c + count) of the pixels from (y, x) on, with zeros around: at most a block.
template <int kTile, class In>
void copy_tile(const Window<In>& window, int64_t y, int64_t x, int64_t c, int64_t count,
               Compute<In>* out) {
  constexpr int kSide = kTile + 2;
  constexpr int64_t kBlock = kLaneBlock<Compute<In>>;
  fill_zero(out, kSide * kSide * kBlock);
  const Range rows = inside(y - window.top, 1, kSide, window.bottom - window.top);
  const Range columns = inside(x - window.left, 1, kSide, window.right - window.left);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    for (int64_t j = columns.begin; j < columns.end; ++j) {
      const In* const from = window.data + (y + i - window.top) * window.row +
                             (x + j - window.left) * window.column + c;
      copy_span(from, out + (i * kSide + j) * kBlock, count);
    }
  }
}

// One tile whose first pixel is (y, x), all `channels` of the window. `place(c)`: where channel c goes at
// point 0.
template <int kTile, class In, class Place>
void load_tile(const Window<In>& window, int64_t y, int64_t x, int64_t channels, const Place& place,
               int64_t pitch) {
  using T = Compute<In>;
  constexpr int kSide = kTile + 2;
  constexpr int64_t kBlock = kLaneBlock<T>;
  const bool all = y >= window.top && y + kSide <= window.bottom && x >= window.left &&
                   x + kSide <= window.right;
  for (int64_t c = 0; c < channels; c += kBlock) {
    if (all && c + kBlock <= channels) {
      const In* const from =
          window.data + (y - window.top) * window.row + (x - window.left) * window.column + c;
      transform_source<kTile>(from, window.row, window.column, place(c), pitch);
      continue;
    }
    alignas(64) T copy[kSide * kSide * kBlock];
    copy_tile<kTile>(window, y, x, c, smaller(kBlock, channels - c), copy);
    transform_source<kTile>(copy, kSide * kBlock, kBlock, place(c), pitch);
  }
}

// A segment's tiles, for the source channels of one chunk; its first tile is number `tile` of the group.
template <int kTile, class S>
void load_segment(const Task& task, const Gather& gather, const WinogradPlan& plan,
                  const Segment& segment, int64_t tile, int64_t chunk, Compute<S>* space,
                  Compute<S>* group) {
  constexpr int kSide = kTile + 2;
  const int64_t height = gather.rows.src_size, width = gather.columns.src_size;
  const int64_t c_begin = plan.c_chunk.begin(chunk);
  const int64_t channels = plan.c_chunk.length(chunk, gather.src_channels);
  const Image<S> image = {
      (const S*)gather_source(task) + segment.image * gather.src_channels * height * width,
      gather.layout, gather.src_channels, height, width};
  const int64_t y = segment.row * kTile + gather.rows.src_low,
                x = segment.column * kTile + gather.columns.src_low;
  const auto load = [&](const auto& window) {
    for (int64_t i = 0; i < segment.rows; ++i) {
      for (int64_t j = 0; j < segment.columns; ++j) {
        const int64_t at = tile + i * segment.columns + j;
        load_tile<kTile>(
            window, y + i * kTile, x + j * kTile, channels,
            [&](int64_t c) { return group + plan.source_at(at, c_begin + c); }, plan.source_pitch);
      }
    }
  };
  if (gather.layout == Layout::kChannelsLast) {
    const int64_t pixel = gather.src_channels;
    load(Window<S>{image.data + c_begin, 0, height, 0, width, width * pixel, pixel});
    return;
  }
  const Range rows = inside(y, 1, (segment.rows - 1) * kTile + kSide, height);
  const Range columns = inside(x, 1, (segment.columns - 1) * kTile + kSide, width);
  const int64_t row_count = rows.end - rows.begin, column_count = columns.end - columns.begin;
  const int64_t pixel = round_up(channels, kLaneBlock<Compute<S>>);
  load_patch(image,
             {y + rows.begin, row_count, 1, x + columns.begin, column_count, 1, c_begin, channels},
             space, pixel);
  load(Window<Compute<S>>{space, y + rows.begin, y + rows.end, x + columns.begin, x + columns.end,
                          column_count * pixel, pixel});
}

}  // namespace
}  // namespace torchconv::cpu

// First layers: forward with one to four input channels. A block stages the source of a tile of
// pixels in shared memory once, padding as zeros, and multiplies it by all filters: the windows are
// gathered from there through a table of offsets, with neither a check of the image's edge nor a
// division. An implicit GEMM whose right matrix is im2col of the staged tile (Chellapilla, Puri and
// Simard, 2006, for im2col).
#pragma once

#include "cuda/general_operands.cuh"
#include "cuda/general_plan.h"
#include "cuda/tiled_product.cuh"

namespace torchconv::cuda {

constexpr int kFilterRows = 64, kTilePixels = 64;
constexpr int kMostSteps = 512;  // channels x taps
constexpr int kTileBytes = 24 * 1024;

// A tile of the result, and what it sees of the source.
struct PixelTile {
  int rows, columns, source_rows, source_columns;
};

struct FewChannelsTask : GeneralTask {
  PixelTile tile;
  LongDivider by_image_tiles;  // tiles of an image
  Divider by_tiles_across, by_columns, by_source_columns, by_source_rows, by_channels;
};

template <class Multiply>
struct FewChannelsMemory {
  using S = typename Multiply::Element;
  ProductMemory<Multiply, kFilterRows, kTilePixels> product;
  alignas(16) int offsets[kMostSteps];  // of every step, from the first element of a window
  S source[kTileBytes / sizeof(S)];     // [c][row][column]; channels_last: [row][column][c]
};

// Rows: pixels of the tile. Reduction: taps in all channels.
template <class S>
struct StagedWindows {
  static constexpr bool kAlongReduction = false;

  const S* source;
  const int* offsets;
  int steps, row_step, column_step;  // from pixel to pixel in the staged source
  Divider by_columns;

  struct Row {
    const S* window;
  };

  __device__ __forceinline__ Row prepare(int pixel) const {
    int column;
    const int row = by_columns.divide(pixel, column);
    return {source + row * row_step + column * column_step};
  }
  __device__ __forceinline__ Vector<S> load(const Row& row, int index) const {
    Vector<S> v{};
#pragma unroll
    for (int i = 0; i < Vector<S>::kSize; ++i) {
      if (index + i < steps) v.at[i] = row.window[offsets[index + i]];
    }
    return v;
  }
};

template <class S, class Multiply, bool ChannelsLast>
__global__ __launch_bounds__(kTileThreads,
                             Multiply::kBlocks) void few_channels_kernel(FewChannelsTask t) {
  auto& memory = shared_memory<FewChannelsMemory<Multiply>>();
  const PixelTile& tile = t.tile;
  const int pixel_pitch = ChannelsLast ? t.channels : 1;
  const int row_pitch = tile.source_columns * pixel_pitch;
  const int channel_pitch = ChannelsLast ? 1 : tile.source_rows * tile.source_columns;
  const TapOrder<ChannelsLast> order(t.channels, t.r, t.s);
  const int steps = order.count();
  for (int i = thread_index(); i < steps; i += kTileThreads) {
    const Tap tap = order.at(i);
    memory.offsets[i] = tap.channel * channel_pitch + tap.row * t.dilation_h * row_pitch +
                        tap.column * t.dilation_w * pixel_pitch;
  }
  const WeightRows<S, ChannelsLast> weight = {
      (const S*)t.weight,
      t.rows,
      t.weight_row,
      t.weight_channel,
      t.weight_r,
      t.weight_s,
      t.weight_vectors,
      order,
      forward_axis(t.height, t.pad_top, t.stride_h, t.dilation_h, t.r),
      forward_axis(t.width, t.pad_left, t.stride_w, t.dilation_w, t.s)};
  const StagedWindows<S> windows = {memory.source,          memory.offsets,           steps,
                                    t.stride_h * row_pitch, t.stride_w * pixel_pitch, t.by_columns};
  for (int64_t place = block_index().x; place < t.tiles; place += grid_size().x) {
    int64_t in_image;
    const int64_t image = t.by_image_tiles.divide(place, in_image);
    int across;
    const int down = t.by_tiles_across.divide((int)in_image, across);
    const int top = down * tile.rows, left = across * tile.columns;
    const int y0 = top * t.stride_h - t.pad_top, x0 = left * t.stride_w - t.pad_left;
    const S* const source = (const S*)t.source + image * t.source_at.image;
    for (int i = thread_index(); i < t.channels * tile.source_rows * tile.source_columns;
         i += kTileThreads) {
      int x, y, channel;
      if constexpr (ChannelsLast) {
        y = t.by_source_columns.divide(t.by_channels.divide(i, channel), x);
      } else {
        channel = t.by_source_rows.divide(t.by_source_columns.divide(i, x), y);
      }
      x += x0, y += y0;
      S v{};
      if ((unsigned)y < (unsigned)t.source_height && (unsigned)x < (unsigned)t.source_width)
        v = source[channel * t.source_at.channel + y * t.source_at.row + x * t.source_at.column];
      memory.source[i] = v;
    }
    sync_block();
    for (int first_row = 0; first_row < t.rows; first_row += kFilterRows) {
      multiply_tiles<Multiply, kFilterRows, kTilePixels>(memory.product, weight, first_row, windows,
                                                         0, steps);
      for (int i = thread_index(); i < kTilePixels; i += kTileThreads) {
        int column;
        const int p = top + t.by_columns.divide(i, column), q = left + column;
        memory.product.result.column_offset[i] =
            p < t.height && q < t.width
                ? image * t.pixels_at.image + p * t.pixels_at.row + q * t.pixels_at.column
                : -1;
      }
      sync_block();
      store_sums<S, ChannelsLast>(memory.product, first_row, t.rows, 0, t.pixels_at.channel, t.bias,
                                  t.result);
      sync_block();
    }
  }
}

// The tile that stages the fewest elements for the whole image; rows is 0 if none fits.
inline PixelTile pixel_tile(const Conv2dShape& d) {
  PixelTile best{};
  double least = 0;
  const int64_t stride_h = stride_within_reach(d.stride_h);
  const int64_t stride_w = stride_within_reach(d.stride_w);
  for (int64_t columns = kTilePixels; columns >= 8; columns /= 2) {
    const int64_t rows = kTilePixels / columns;
    const int64_t source_rows = (rows - 1) * stride_h + (d.r - 1) * d.dilation_h + 1;
    const int64_t source_columns = (columns - 1) * stride_w + (d.s - 1) * d.dilation_w + 1;
    const double staged = (double)source_rows * (double)source_columns;
    if (staged * (double)(d.c * size_of(d.dtype)) > kTileBytes) continue;
    const double all = staged * (double)(ceil_div(d.p, rows) * ceil_div(d.q, columns));
    if (best.rows && all >= least) continue;
    least = all;
    best = {(int)rows, (int)columns, (int)source_rows, (int)source_columns};
  }
  return best;
}

template <class S, class Multiply, bool ChannelsLast>
cudaError_t launch_few_channels_tiles(const Task& task, cudaStream_t stream) {
  const Conv2dShape& d = task.shape;
  FewChannelsTask t;
  static_cast<GeneralTask&>(t) = general_task(task);
  t.tile = pixel_tile(d);
  const int64_t across = ceil_div(d.q, t.tile.columns), down = ceil_div(d.p, t.tile.rows);
  t.tiles = d.n * across * down;
  t.by_image_tiles = LongDivider(across * down);
  t.by_tiles_across = Divider(across), t.by_columns = Divider(t.tile.columns);
  t.by_source_columns = Divider(t.tile.source_columns);
  t.by_source_rows = Divider(t.tile.source_rows), t.by_channels = Divider(d.c);
  const Index3 grid = {(int)smaller(t.tiles, kMostBlocks), 1, 1};
  return launch<kTileThreads>(few_channels_kernel<S, Multiply, ChannelsLast>, grid, stream, t);
}

template <class S, template <class, int, int> class Multiply>
cudaError_t launch_few_channels_as(const Task& task, cudaStream_t stream) {
  using Tiles = Multiply<S, kFilterRows, kTilePixels>;
  return task.shape.layout == Layout::kChannelsLast
             ? launch_few_channels_tiles<S, Tiles, true>(task, stream)
             : launch_few_channels_tiles<S, Tiles, false>(task, stream);
}

}  // namespace torchconv::cuda

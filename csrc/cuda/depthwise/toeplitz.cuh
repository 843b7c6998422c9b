// Depthwise convolution on tensor cores. Eight neighbouring pixels of a row are a product of the
// pixels above them, 16 at a time, and a matrix that holds one row of the filter once in each column,
// each time one further down: a Toeplitz matrix. The 16 rows of an operation are rows of the image,
// or twice eight rows of two images: what one pixel sums does not depend on the batch.
//
// Every pixel is multiplied with the zeros of that matrix too: an infinity or NaN of the input makes
// NaN of up to 15 pixels on either side, more than the window reaches.
#pragma once

#include "cuda/depthwise/stage.cuh"

namespace torchconv::cuda {

constexpr int kToeplitzBlocks = 4;  // of eight columns, of one warp
constexpr int kToeplitzStagedBytes = 20 * 1024;

// Steps of 16 columns that the windows of eight pixels cover.
inline int toeplitz_steps(int64_t s) {
  return (int)ceil_div(8 + s - 1, 16);
}

// The stage begins `shift` columns before the first window, so that it begins at a multiple of as
// many elements as the width has too, and as the last window leaves room for.
inline int toeplitz_shift(int64_t origin, int64_t width, int64_t s) {
  for (int elements = 8; elements > 1; elements /= 2) {
    const int shift = (int)((origin % elements + elements) % elements);
    if (width % elements == 0 && 8 + s - 1 + shift <= 16 * toeplitz_steps(s)) return shift;
  }
  return 0;
}

inline bool toeplitz_applicable(const Conv2dShape& d) {
  const bool half = d.dtype == Dtype::kBFloat16 || d.dtype == Dtype::kFloat16;
  return half && d.layout == Layout::kContiguous && has_window(Op::kForward, d, (int)d.r, 1) &&
         d.r >= 7 && d.r <= 32 && depthwise_applicable(Op::kForward, d);
}

// `rows` of one plane, eight or a multiple of 16, are all its rows where they are few. The stage has
// `more_rows` than those of the result.
struct ToeplitzTiles : PlaneTiles {
  int rows;
};

inline ToeplitzTiles toeplitz_tiles(int64_t height, int64_t width, int more_rows, int steps,
                                    int bytes) {
  ToeplitzTiles t;
  t.across = width > 8 * kToeplitzBlocks ? 2 : 1;
  t.down = 4 / t.across;
  const int columns = (int)smaller(8 * kToeplitzBlocks * t.across, ceil_div(width, 8) * 8);
  t.staged_columns = columns + 8 * (2 * steps - 1);
  // An odd number of vectors: eight rows lie in different banks.
  t.staged_stride = (t.staged_columns / 8 | 1) * 8;
  for (;; t.down /= 2) {
    t.rows = (int)larger(8, power_of_two(height, 16 * t.down));
    t.planes = 16 * t.down / t.rows;
    t.staged_rows = t.rows + more_rows;
    if (t.down == 1 || t.planes * t.staged_rows * t.staged_stride * 2 <= bytes) break;
  }
  t.tiles_across = (int)ceil_div(width, 8 * kToeplitzBlocks * t.across);
  t.tiles_down = (int)ceil_div(height, t.rows);
  return t;
}

// Where a warp works: 16 rows, as two halves that may be of different planes, and some blocks.
struct ToeplitzPlace {
  bool exists;
  int plane[2], row[2];
  int column, blocks;
};

__device__ __forceinline__ ToeplitzPlace toeplitz_place(const ToeplitzTiles& tiles, int left,
                                                        int width) {
  const int warp = thread_index() / kWarp, down = tiles.across == 2 ? warp / 2 : warp;
  ToeplitzPlace place;
  place.column = (tiles.across == 2 ? warp % 2 : 0) * 8 * kToeplitzBlocks;
  place.blocks = (int)smaller(kToeplitzBlocks, (width - left - place.column + 7) / 8);
  place.exists = down < tiles.down && place.blocks > 0;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = 16 * down + 8 * half;
    place.plane[half] = row / tiles.rows;
    place.row[half] = row % tiles.rows;
  }
  return place;
}

struct ToeplitzTask : DepthwiseTask {
  Window window;
  PlaneStage stage;
  ToeplitzTiles tiles;
  LongDivider by_tiles;
  Divider by_tiles_across;
  int shift, copy_bytes;
  bool pairs;  // two pixels can be stored at once
};

template <class S, int Steps>
struct ToeplitzMemory {
  static constexpr int kFilterRows = 32;
  alignas(16) S staged[kToeplitzStagedBytes / sizeof(S)];
  uint32_t filter[kFilterRows * Steps][kWarp][2];  // fragments, as the lanes read them
};

// forward and grad_input: a block computes a tile of some images of one channel.
template <class S, int Steps>
__global__ __launch_bounds__(kDepthwiseThreads, 4) void toeplitz_kernel(ToeplitzTask t) {
  constexpr int kChunks = kToeplitzBlocks + 2 * Steps - 1;  // of eight columns
  ToeplitzMemory<S, Steps>& memory = shared_memory<ToeplitzMemory<S, Steps>>();
  const ToeplitzTiles& tiles = t.tiles;
  int64_t tile;
  int tile_column;
  const int64_t first_image = t.by_tiles.divide(block_index().x, tile) * tiles.planes;
  const int tile_row = t.by_tiles_across.divide((int)tile, tile_column);
  const int top = tile_row * tiles.rows;
  const int left = tile_column * tiles.across * 8 * kToeplitzBlocks;
  const ToeplitzPlace place = toeplitz_place(tiles, left, t.width);
  const int lane = thread_index() % kWarp;

  for (int channel = block_index().y; channel < t.channels; channel += grid_size().y) {
    sync_block();
    stage_halves<S>(
        memory.staged, t.stage, t.copy_bytes,
        [&](int i) {
          return first_image + i < t.images
                     ? (const S*)t.source + (first_image + i) * t.source_at.image +
                           channel * t.source_at.channel
                     : nullptr;
        },
        (const S*)t.source, top + t.window.origin_h, left + t.window.origin_w - t.shift,
        t.source_height, t.source_width);
    const S* const filter = (const S*)t.weight + channel * t.weight_k + t.window.first_tap;
    for (int i = thread_index(); i < t.r * Steps * kWarp * 2; i += kDepthwiseThreads) {
      const int part = i % 2, owner = i / 2 % kWarp, step = i / (2 * kWarp) % Steps;
      const int r = i / (2 * kWarp * Steps);
      uint32_t packed = 0;
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int s = 16 * step + 8 * part + 2 * (owner % 4) + e - owner / 4 - t.shift;
        if (s < 0 || s >= t.s) continue;
        packed |= (uint32_t)filter[r * t.window.tap_row + s * t.window.tap_column].bits << 16 * e;
      }
      memory.filter[r * Steps + step][owner][part] = packed;
    }
    wait_copies<0>();
    sync_block();
    if (!place.exists) continue;

    float sums[kToeplitzBlocks][4] = {};
    // Lanes 0 to 15 name the 16 rows of one chunk of columns, the others those of the next.
    const bool second = lane / 8 % 2;
    const int plane = second ? place.plane[1] : place.plane[0];
    const int row = second ? place.row[1] : place.row[0];
    const S* from = memory.staged +
                    (plane * tiles.staged_rows + row + lane % 8) * tiles.staged_stride +
                    place.column + lane / 16 * 8;
    for (int r = 0; r < t.r; ++r, from += tiles.staged_stride) {
      uint32_t chunks[kChunks + 1][2];
#pragma unroll
      for (int i = 0; i < kChunks; i += 2) {
        if (i >= place.blocks + 2 * Steps - 1) continue;
        // The last chunk has no next one: its lanes read it twice.
        const bool last = i + 1 >= place.blocks + 2 * Steps - 1;
        uint32_t m[4];
        load_matrices(m, from + 8 * i - (last ? lane / 16 * 8 : 0));
        chunks[i][0] = m[0], chunks[i][1] = m[1];
        chunks[i + 1][0] = m[2], chunks[i + 1][1] = m[3];
      }
#pragma unroll
      for (int step = 0; step < Steps; ++step) {
        const uint32_t* const right = memory.filter[r * Steps + step][lane];
        const uint32_t right0 = right[0], right1 = right[1];
#pragma unroll
        for (int j = 0; j < kToeplitzBlocks; ++j) {
          if (j >= place.blocks) continue;
          const int i = j + 2 * step;
          const uint32_t a[4] = {chunks[i][0], chunks[i][1], chunks[i + 1][0], chunks[i + 1][1]};
          multiply_16x8x16(sums[j], a, right0, right1, S{});
        }
      }
    }

    const float bias = t.bias ? to_compute(((const S*)t.bias)[channel]) : 0.0f;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int64_t image = first_image + place.plane[i];
      const int row = top + place.row[i] + lane / 4;
      if (image >= t.images || row >= t.height) continue;
      const int first = left + place.column + 2 * (lane % 4);
      S* const to = (S*)t.result + image * t.pixels_at.image + channel * t.pixels_at.channel +
                    row * t.pixels_at.row;
#pragma unroll
      for (int j = 0; j < kToeplitzBlocks; ++j) {
        const int column = first + 8 * j;
        struct alignas(2 * sizeof(S)) Two {
          S at[2];
        } two;
        from_compute(&two.at[0], sums[j][2 * i] + bias);
        from_compute(&two.at[1], sums[j][2 * i + 1] + bias);
        if (t.pairs && column < t.width) {
          *reinterpret_cast<Two*>(to + column) = two;
        } else {
          if (column < t.width) to[column] = two.at[0];
          if (column + 1 < t.width) to[column + 1] = two.at[1];
        }
      }
    }
  }
}

template <class S, int Steps>
cudaError_t launch_toeplitz(const Task& task, cudaStream_t stream) {
  ToeplitzTask t{};
  static_cast<DepthwiseTask&>(t) = depthwise_task(task);
  t.window = window_of(t);
  t.tiles = toeplitz_tiles(t.height, t.width, t.r - 1, Steps, kToeplitzStagedBytes);
  t.stage = plane_stage(t.tiles);
  t.shift = toeplitz_shift(t.window.origin_w, t.source_width, t.s);
  t.copy_bytes = copy_bytes(t.source, t.source_width, t.window.origin_w - t.shift);
  const int tiles = t.tiles.tiles_across * t.tiles.tiles_down;
  t.by_tiles = LongDivider(tiles);
  t.by_tiles_across = Divider(t.tiles.tiles_across);
  t.pairs = t.width % 2 == 0 && reinterpret_cast<uintptr_t>(t.result) % 4 == 0;
  const Index3 grid = {(int)(ceil_div(t.images, t.tiles.planes) * tiles),
                       (int)smaller(t.channels, 65535), 1};
  return launch<kDepthwiseThreads>(toeplitz_kernel<S, Steps>, grid, stream, t);
}

}  // namespace torchconv::cuda

// Depthwise weight gradient on tensor cores: the products of toeplitz.cuh the other way round. For
// one row r of the filter, 16 columns of the input, r rows below the output, times eight columns of
// grad, summed over 16 rows, hold in their diagonals what the taps of that row are made of:
// weight(r, s) is the sum over columns n of product(n + s, n), or with the shift of the stage,
// product(n + s + shift, n). A block sums one split for some rows
// of the filter; ordered_sum.cuh adds the splits.
#pragma once

#include "cuda/gemm/ordered_sum.cuh"
#include "cuda/depthwise/toeplitz.cuh"

namespace torchconv::cuda {

// Rows of the filter whose products fit into registers.
template <int Steps>
constexpr int kToeplitzFilterRows = Steps == 3 ? 6 : 8;

struct ToeplitzGradWeightTask : DepthwiseTask {
  SplitSums<false> sums;
  ToeplitzTiles tiles;
  PlaneStage stage, grad_stage;
  LongDivider by_tiles;
  Divider by_tiles_across, by_chunks;
  int64_t units, units_per_split;  // a unit: a tile of as many images as a block has planes
  int shift, copy_bytes, grad_copy_bytes;
  int chunks;  // of the rows of the filter
};

template <class S, int Steps>
union ToeplitzGradWeightMemory {
  struct {
    alignas(16) S input[kToeplitzStagedBytes / sizeof(S)];
    alignas(16) S grad[kToeplitzStagedBytes / sizeof(S)];
  } staged;
  float products[kDepthwiseThreads / kWarp][16 * Steps][8];
};

template <class S, int Steps>
__global__ __launch_bounds__(kDepthwiseThreads,
                             3) void toeplitz_grad_weight_kernel(ToeplitzGradWeightTask t) {
  constexpr int kRows = kToeplitzFilterRows<Steps>;
  constexpr int kChunks = kToeplitzBlocks + 2 * Steps - 1;  // of eight columns
  auto& memory = shared_memory<ToeplitzGradWeightMemory<S, Steps>>();
  const ToeplitzTiles& tiles = t.tiles;
  int chunk;
  const int64_t split = t.by_chunks.divide(block_index().x, chunk);
  const int first_row = chunk * kRows, lane = thread_index() % kWarp;
  const int64_t first_unit = split * t.units_per_split;
  const int64_t end = smaller(first_unit + t.units_per_split, t.units);

  for (int channel = block_index().y; channel < t.channels; channel += grid_size().y) {
    float sums[kRows][Steps][4] = {};
    for (int64_t unit = first_unit; unit < end; ++unit) {
      int64_t tile;
      int tile_column;
      const int64_t first_image = t.by_tiles.divide(unit, tile) * tiles.planes;
      const int top = t.by_tiles_across.divide((int)tile, tile_column) * tiles.rows;
      const int left = tile_column * tiles.across * 8 * kToeplitzBlocks;
      sync_block();
      stage_halves<S>(
          memory.staged.input, t.stage, t.copy_bytes,
          [&](int i) {
            return first_image + i < t.images
                       ? (const S*)t.source + (first_image + i) * t.source_at.image +
                             channel * t.source_at.channel
                       : nullptr;
          },
          (const S*)t.source, top - t.pad_top + first_row, left - t.pad_left - t.shift,
          t.source_height, t.source_width);
      stage_halves<S>(
          memory.staged.grad, t.grad_stage, t.grad_copy_bytes,
          [&](int i) {
            return first_image + i < t.images
                       ? (const S*)t.grad + (first_image + i) * t.pixels_at.image +
                             channel * t.pixels_at.channel
                       : nullptr;
          },
          (const S*)t.grad, top, left, t.height, t.width);
      wait_copies<0>();
      sync_block();
      const ToeplitzPlace place = toeplitz_place(tiles, left, t.width);
      if (!place.exists) continue;
      // Lanes 0 to 15 name the 16 rows of one chunk of columns, the others those of the next.
      const bool second = lane / 8 % 2;
      const int plane = second ? place.plane[1] : place.plane[0];
      const int row = (second ? place.row[1] : place.row[0]) + lane % 8;
      const int next = lane / 16 * 8;
      uint32_t right[kToeplitzBlocks][2];
      const S* const grad = memory.staged.grad +
                            (plane * tiles.rows + row) * t.grad_stage.tiles.staged_stride +
                            place.column + next;
#pragma unroll
      for (int j = 0; j < kToeplitzBlocks; j += 2) {
        if (j >= place.blocks) continue;
        uint32_t m[4];
        load_matrices_transposed(m, grad + 8 * j - (j + 1 >= place.blocks ? next : 0));
        right[j][0] = m[0], right[j][1] = m[1];
        right[j + 1][0] = m[2], right[j + 1][1] = m[3];
      }
      const S* from = memory.staged.input +
                      (plane * tiles.staged_rows + row) * tiles.staged_stride + place.column + next;
#pragma unroll
      for (int r = 0; r < kRows; ++r, from += tiles.staged_stride) {
        if (first_row + r >= t.r) continue;
        uint32_t chunks[kChunks + 1][2];
#pragma unroll
        for (int i = 0; i < kChunks; i += 2) {
          if (i >= place.blocks + 2 * Steps - 1) continue;
          const bool last = i + 1 >= place.blocks + 2 * Steps - 1;
          uint32_t m[4];
          load_matrices_transposed(m, from + 8 * i - (last ? next : 0));
          chunks[i][0] = m[0], chunks[i][1] = m[1];
          chunks[i + 1][0] = m[2], chunks[i + 1][1] = m[3];
        }
#pragma unroll
        for (int step = 0; step < Steps; ++step) {
#pragma unroll
          for (int j = 0; j < kToeplitzBlocks; ++j) {
            if (j >= place.blocks) continue;
            const int i = j + 2 * step;
            const uint32_t a[4] = {chunks[i][0], chunks[i + 1][0], chunks[i][1], chunks[i + 1][1]};
            multiply_16x8x16(sums[r][step], a, right[j][0], right[j][1], S{});
          }
        }
      }
    }

    const int warp = thread_index() / kWarp, s = thread_index();
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      sync_block();
#pragma unroll
      for (int step = 0; step < Steps; ++step) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          memory.products[warp][16 * step + lane / 4 + 8 * (e / 2)][2 * (lane % 4) + e % 2] =
              sums[r][step][e];
        }
      }
      sync_block();
      if (first_row + r >= t.r || s >= t.s) continue;
      float sum = 0;
      for (int w = 0; w < kDepthwiseThreads / kWarp; ++w) {
#pragma unroll
        for (int n = 0; n < 8; ++n) sum += memory.products[w][n + s + t.shift][n];
      }
      t.sums.put<S>(split, channel, (first_row + r) * t.s + s, sum);
    }
  }
}

template <int Steps>
ToeplitzGradWeightTask toeplitz_grad_weight_task(const Task& task) {
  const Conv2dShape& d = task.shape;
  ToeplitzGradWeightTask t{};
  static_cast<DepthwiseTask&>(t) = depthwise_task(task);
  t.tiles = toeplitz_tiles(d.p, d.q, kToeplitzFilterRows<Steps> - 1, Steps, kToeplitzStagedBytes);
  t.stage = plane_stage(t.tiles);
  t.shift = toeplitz_shift(-d.pad_left, d.w, d.s);
  t.copy_bytes = copy_bytes(task.input, d.w, -d.pad_left - t.shift);
  t.grad_copy_bytes = copy_bytes(task.grad, d.q, 0);
  PlaneTiles grad_tiles = t.tiles;
  grad_tiles.staged_rows = t.tiles.rows;
  grad_tiles.staged_columns = t.tiles.staged_columns - 8 * (2 * Steps - 1);
  grad_tiles.staged_stride = (grad_tiles.staged_columns / 8 | 1) * 8;
  t.grad_stage = plane_stage(grad_tiles);
  const int64_t tiles = t.tiles.tiles_across * t.tiles.tiles_down;
  t.by_tiles = LongDivider(tiles);
  t.by_tiles_across = Divider(t.tiles.tiles_across);
  t.units = ceil_div(d.n, t.tiles.planes) * tiles;
  t.units_per_split =
      ceil_div(8192, t.tiles.planes * t.tiles.rows * (int64_t)grad_tiles.staged_columns);
  t.sums = split_sums(task, ceil_div(t.units, t.units_per_split), TapOrder<false>(1, t.r, t.s));
  t.chunks = (int)ceil_div(d.r, kToeplitzFilterRows<Steps>);
  t.by_chunks = Divider(t.chunks);
  return t;
}

template <class S, int Steps>
cudaError_t launch_toeplitz_grad_weight(const Task& task, cudaStream_t stream) {
  const ToeplitzGradWeightTask t = toeplitz_grad_weight_task<Steps>(task);
  const Index3 grid = {(int)(t.sums.splits * t.chunks), (int)smaller(t.channels, 65535), 1};
  const cudaError_t error =
      launch<kDepthwiseThreads>(toeplitz_grad_weight_kernel<S, Steps>, grid, stream, t);
  return error == cudaSuccess ? launch_ordered_sum<S>(t.sums, stream) : error;
}

}  // namespace torchconv::cuda

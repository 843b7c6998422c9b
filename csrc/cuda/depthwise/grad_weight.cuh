// Depthwise weight gradient: every thread keeps the sums of all taps for its pixels, or of some taps
// where the kernel has a size of its own; the threads of a block are added as a tree, ordered_sum.cuh
// adds the blocks. A block sums one split: a number of
// neighbouring units of work that depends on the shape of one image.
#pragma once

#include "cuda/axis.cuh"
#include "cuda/depthwise/planes.cuh"
#include "cuda/gemm/ordered_sum.cuh"

namespace torchconv::cuda {

constexpr int kAnyTaps = 8;  // of a thread, in a kernel of any size

struct DepthwiseGradWeightTask : DepthwiseTask {
  SplitSums<false> sums;
  int64_t units, units_per_split;
  int lanes;  // channels side by side in a block: a power of two
  Divider by_lanes;

  PlaneStage stage;  // planes: a unit is a tile of as many images as a block has planes
  LongDivider by_tiles;
  Divider by_tiles_across;

  int runs;  // channels: a unit is a run of kRunOfGrad pixels in a row
  LongDivider by_runs, by_height;

  int tap_blocks;  // any: a unit is a pixel
  Divider by_tap_blocks, by_multiplier, by_kernel_width;
  LongDivider by_width;
};

// The memory of a block while its threads are added: some taps of all threads.
template <class Sum>
struct StrandMemory {
  static constexpr int kTaps = kStagedBytes / (kDepthwiseThreads * sizeof(Sum));
  alignas(16) Sum sums[kTaps * kDepthwiseThreads];
};

// Adds the sums of all strands, of which thread strand * lanes + lane has one, and calls
// put(tap, sum) in the first of them.
template <int Taps, class Sum, class Put>
__device__ __forceinline__ void add_strands(StrandMemory<Sum>& memory, const Sum (&sums)[Taps],
                                            int lanes, const Put& put) {
  constexpr int kAtOnce = StrandMemory<Sum>::kTaps < Taps ? StrandMemory<Sum>::kTaps : Taps;
  const int thread = thread_index();
#pragma unroll
  for (int first = 0; first < Taps; first += kAtOnce) {
    sync_block();
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (first + i < Taps) memory.sums[i * kDepthwiseThreads + thread] = sums[first + i];
    }
    sync_block();
    for (int half = kDepthwiseThreads / 2; half >= lanes; half /= 2) {
      for (int i = thread; i < kAtOnce * half; i += kDepthwiseThreads) {
        Sum* const sum = memory.sums + i / half * kDepthwiseThreads + i % half;
        if (first + i / half < Taps) *sum += sum[half];
      }
      sync_block();
    }
    for (int i = 0; i < kAtOnce && first + i < Taps; ++i) {
      if (thread < lanes) put(first + i, memory.sums[i * kDepthwiseThreads + thread]);
    }
  }
}

// Contiguous, square kernels without gaps: tiles staged as forward does.
template <class S, int Size, int Stride>
__global__ __launch_bounds__(kDepthwiseThreads, 3) void depthwise_planes_grad_weight_kernel(
    DepthwiseGradWeightTask t) {
  using Sum = Compute<S>;
  constexpr int kRows = Patch<Stride>::kRows;
  StrandMemory<Sum>& memory = shared_memory<StrandMemory<Sum>>();
  const PlaneTiles& tiles = t.stage.tiles;
  const PatchPlace place = patch_place<Stride>(t.stage);
  const int64_t split = block_index().x, first_unit = split * t.units_per_split;
  const int64_t end = smaller(first_unit + t.units_per_split, t.units);
  for (int channel = block_index().y; channel < t.channels; channel += grid_size().y) {
    Sum sums[Size * Size] = {};
    for (int64_t unit = first_unit; unit < end; ++unit) {
      int64_t tile;
      const int64_t first_image = t.by_tiles.divide(unit, tile) * tiles.planes;
      int tile_column;
      const int tile_row = t.by_tiles_across.divide((int)tile, tile_column);
      const int top = tile_row * tiles.down * kRows;
      const int left = tile_column * tiles.across * kPatchColumns;
      sync_block();
      stage_planes<S>(
          memory.sums, t.stage,
          [&](int i) {
            return first_image + i < t.images
                       ? (const S*)t.source + (first_image + i) * t.source_at.image +
                             channel * t.source_at.channel
                       : nullptr;
          },
          top * Stride - t.pad_top, left * Stride - t.pad_left, t.source_height, t.source_width);
      const int64_t image = first_image + place.plane;
      const int row = top + place.row, column = left + place.column;
      const bool exists = place.plane < tiles.planes && image < t.images && row < t.height;
      Sum grad[kRows][kPatchColumns];
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const S* const from = (const S*)t.grad + image * t.pixels_at.image +
                              channel * t.pixels_at.channel + (row + i) * t.pixels_at.row + column;
#pragma unroll
        for (int j = 0; j < kPatchColumns; ++j) {
          grad[i][j] =
              exists && row + i < t.height && column + j < t.width ? to_compute(from[j]) : Sum(0);
        }
      }
      sync_block();
      if (!exists) continue;
      const Sum* const window =
          memory.sums +
          (place.plane * tiles.staged_rows + place.row * Stride) * tiles.staged_stride +
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
            for (int j = 0; j < kPatchColumns; ++j) {
              sums[r * Size + s] = fused(grad[i][j], line.at[j * Stride + s], sums[r * Size + s]);
            }
          }
        }
      }
    }
    add_strands(memory, sums, 1,
                [&](int tap, Sum sum) { t.sums.put<S>(split, channel, tap, sum); });
  }
}

constexpr int kRunOfGrad = 4;

// Channels_last, square kernels without gaps: a thread sums one channel of some runs.
template <class S, int Size, int Stride>
__global__ __launch_bounds__(kDepthwiseThreads, 3) void depthwise_channels_grad_weight_kernel(
    DepthwiseGradWeightTask t) {
  using Sum = Compute<S>;
  constexpr int kColumns = (kRunOfGrad - 1) * Stride + Size;
  StrandMemory<Sum>& memory = shared_memory<StrandMemory<Sum>>();
  int lane;
  const int strand = t.by_lanes.divide(thread_index(), lane);
  const int channel = block_index().y * t.lanes + lane;
  const int64_t split = block_index().x, first_unit = split * t.units_per_split;
  const int64_t end = smaller(first_unit + t.units_per_split, t.units);
  Sum sums[Size * Size] = {};
  for (int64_t unit = first_unit + strand; channel < t.channels && unit < end;
       unit += kDepthwiseThreads / t.lanes) {
    int64_t run, row;
    const int64_t image = t.by_height.divide(t.by_runs.divide(unit, run), row);
    const int column = (int)run * kRunOfGrad;
    const S* const from = (const S*)t.grad + image * t.pixels_at.image + row * t.pixels_at.row +
                          column * t.pixels_at.column + channel;
    const S* const source = (const S*)t.source + image * t.source_at.image + channel;
    Sum grad[kRunOfGrad];
#pragma unroll
    for (int j = 0; j < kRunOfGrad; ++j)
      grad[j] = column + j < t.width ? to_compute(from[j * t.pixels_at.column]) : Sum(0);
#pragma unroll
    for (int r = 0; r < Size; ++r) {
      const int y = (int)row * Stride - t.pad_top + r;
      if ((unsigned)y >= (unsigned)t.source_height) continue;
#pragma unroll
      for (int i = 0; i < kColumns; ++i) {
        const int x = column * Stride - t.pad_left + i;
        const Sum v = (unsigned)x < (unsigned)t.source_width
                          ? to_compute(source[y * t.source_at.row + x * t.source_at.column])
                          : Sum(0);
#pragma unroll
        for (int j = 0; j < kRunOfGrad; ++j) {
          const int s = i - j * Stride;
          if (s >= 0 && s < Size) sums[r * Size + s] = fused(grad[j], v, sums[r * Size + s]);
        }
      }
    }
  }
  add_strands(memory, sums, t.lanes, [&](int tap, Sum sum) {
    if (channel < t.channels) t.sums.put<S>(split, channel, tap, sum);
  });
}

// Any geometry and layout: a thread sums kAnyTaps taps of one channel.
template <class S>
__global__ __launch_bounds__(kDepthwiseThreads,
                             4) void depthwise_any_grad_weight_kernel(DepthwiseGradWeightTask t) {
  using Sum = Compute<S>;
  StrandMemory<Sum>& memory = shared_memory<StrandMemory<Sum>>();
  int lane, tap_block, rest;
  const int64_t split = t.by_tap_blocks.divide(block_index().x, tap_block);
  const int strand = t.by_lanes.divide(thread_index(), lane);
  const int first_tap = tap_block * kAnyTaps, taps = t.r * t.s;
  const int64_t first_unit = split * t.units_per_split;
  const int64_t end = smaller(first_unit + t.units_per_split, t.units);
  int y[kAnyTaps], x[kAnyTaps];
#pragma unroll
  for (int i = 0; i < kAnyTaps; ++i) {
    const int r = t.by_kernel_width.divide(first_tap + i, rest);
    y[i] = first_tap + i < taps ? r * t.dilation_h - t.pad_top : -(1 << 30);
    x[i] = rest * t.dilation_w - t.pad_left;
  }
  for (int first = block_index().y * t.lanes; first < t.channels;
       first += grid_size().y * t.lanes) {
    const int channel = first + lane;
    Sum sums[kAnyTaps] = {};
    const int64_t plane = t.by_multiplier.divide(channel, rest) * t.source_at.channel;
    for (int64_t unit = first_unit + strand; channel < t.channels && unit < end;
         unit += kDepthwiseThreads / t.lanes) {
      int64_t p, q;
      const int64_t image = t.by_height.divide(t.by_width.divide(unit, q), p);
      const Sum grad =
          to_compute(((const S*)t.grad)[image * t.pixels_at.image + p * t.pixels_at.row +
                                        q * t.pixels_at.column + channel * t.pixels_at.channel]);
      const S* const source = (const S*)t.source + image * t.source_at.image + plane;
      const int top = (int)p * t.stride_h, left = (int)q * t.stride_w;
#pragma unroll
      for (int i = 0; i < kAnyTaps; ++i) {
        const int row = top + y[i], column = left + x[i];
        if ((unsigned)row >= (unsigned)t.source_height ||
            (unsigned)column >= (unsigned)t.source_width)
          continue;
        sums[i] = fused(
            grad, to_compute(source[row * t.source_at.row + column * t.source_at.column]), sums[i]);
      }
    }
    add_strands(memory, sums, t.lanes, [&](int tap, Sum sum) {
      if (channel < t.channels && first_tap + tap < taps)
        t.sums.put<S>(split, channel, first_tap + tap, sum);
    });
  }
}

}  // namespace torchconv::cuda

// The general algorithm: every convolution as a product of matrices, tile by tile (implicit GEMM).
// forward and grad_input are one kernel: grad_input is a convolution of grad for each phase of the
// stride. grad_weight sums over pixels, cut into splits that depend on the shape of one image; a
// second kernel adds the splits in order. Merged: small groups are multiplied together, which fills
// the tiles (grouped.cu).
#pragma once

#include "cuda/gemm/operands.cuh"
#include "cuda/gemm/plan.h"
#include "cuda/gemm/ordered_sum.cuh"
#include "cuda/gemm/tiled_product.cuh"

namespace torchconv::cuda {

// forward and grad_input: a block computes Rows channels of Columns pixels of one phase.
template <class S, class Multiply, int Rows, int Columns, bool ChannelsLast, bool Merged>
__global__ __launch_bounds__(kTileThreads, Multiply::kBlocks) void general_kernel(GeneralTask t) {
  auto& memory = shared_memory<ProductMemory<Multiply, Rows, Columns>>();
  for (int64_t place = block_index().x; place < t.tiles; place += grid_size().x) {
    int64_t rows_and_group;
    const int columns = (int)t.by_rows.divide(place, rows_and_group);
    int row_tile, tile;
    const int group = t.by_row_tiles.divide((int)rows_and_group, row_tile);
    const int first_row = row_tile * Rows;
    const int phase = t.by_tiles.divide(columns, tile);
    int phase_w;
    const int phase_h = t.by_phases_w.divide(phase, phase_w);
    Axis vertical, horizontal;
    if (t.op == Op::kForward) {
      vertical = forward_axis(t.height, t.pad_top, t.stride_h, t.dilation_h, t.r);
      horizontal = forward_axis(t.width, t.pad_left, t.stride_w, t.dilation_w, t.s);
    } else {
      vertical =
          grad_input_axis(phase_h, t.height, t.pad_top, t.stride_h, t.dilation_h, t.r, t.common_h);
      horizontal =
          grad_input_axis(phase_w, t.width, t.pad_left, t.stride_w, t.dilation_w, t.s, t.common_w);
    }
    const int64_t pixels = t.images * vertical.pixels * horizontal.pixels;
    const int64_t first_column = (int64_t)tile * Columns;
    if (first_column >= pixels) continue;
    const TapOrder<ChannelsLast> order(t.channels, vertical.taps, horizontal.taps);
    const LongDivider by_column = t.by_pixel_columns[horizontal.pixels != t.most_columns];
    const LongDivider by_row = t.by_pixel_rows[vertical.pixels != t.most_rows];

    const S* const filters = (const S*)t.weight + group * t.merged * t.weight_group;
    const auto weight = [&] {
      if constexpr (Merged) {
        return MergedWeightRows<S, ChannelsLast>{
            filters,    t.rows,     t.weight_group,  t.weight_row,        t.weight_channel,
            t.weight_r, t.weight_s, t.by_group_rows, t.by_group_channels, order,
            vertical,   horizontal};
      } else {
        return WeightRows<S, ChannelsLast>{
            filters,    t.rows,           t.weight_row, t.weight_channel, t.weight_r,
            t.weight_s, t.weight_vectors, order,        vertical,         horizontal};
      }
    }();
    const WindowRows<S, ChannelsLast> windows = {
        (const S*)t.source + group * t.channels * t.source_at.channel,
        t.source_at,
        t.source_height,
        t.source_width,
        pixels,
        t.source_vectors,
        by_column,
        by_row,
        order,
        vertical,
        horizontal};
    multiply_tiles<Multiply, Rows, Columns>(memory, weight, first_row, windows, first_column,
                                            order.count());

    for (int i = thread_index(); i < Columns; i += kTileThreads) {
      const int64_t pixel = first_column + i;
      int64_t row, column;
      const int64_t image = by_row.divide(by_column.divide(pixel, column), row);
      memory.result.column_offset[i] =
          pixel >= pixels
              ? -1
              : image * t.pixels_at.image +
                    (vertical.first_pixel + row * vertical.pixel_step) * t.pixels_at.row +
                    (horizontal.first_pixel + column * horizontal.pixel_step) * t.pixels_at.column;
    }
    sync_block();
    store_sums<S, ChannelsLast>(memory, first_row, t.rows, group * t.rows, t.pixels_at.channel,
                                t.bias, t.result);
    sync_block();
  }
}

// grad_weight, first stage: a block computes Rows channels and Columns taps of one split.
template <class S, class Multiply, int Rows, int Columns, bool ChannelsLast, bool Merged>
__global__ __launch_bounds__(kTileThreads, Multiply::kBlocks) void general_grad_weight_kernel(
    GeneralTask t, SplitSums<ChannelsLast> sums) {
  auto& memory = shared_memory<ProductMemory<Multiply, Rows, Columns>>();
  for (int64_t place = block_index().x; place < t.tiles; place += grid_size().x) {
    int64_t rows_and_group;
    const int columns = (int)t.by_rows.divide(place, rows_and_group);
    int row_tile, tile;
    const int group = t.by_row_tiles.divide((int)rows_and_group, row_tile);
    const int first_row = row_tile * Rows;
    const int split = t.by_tiles.divide(columns, tile);
    int part;
    const int64_t bundle = t.by_parts.divide(split, part);
    PixelSpan span;
    span.image = bundle * t.images_per_split;
    span.pixel = part * t.pixels_per_part;
    const int images = (int)smaller(t.images_per_split, t.images - span.image);
    const int pixels = (int)smaller(t.pixels_per_part, t.height * t.width - span.pixel);
    span.count = images * pixels;
    span.by_image = t.by_pixels_per_part;

    const TapOrder<ChannelsLast> order(t.channels, t.r, t.s);
    const Axis vertical = forward_axis(t.height, t.pad_top, t.stride_h, t.dilation_h, t.r);
    const Axis horizontal = forward_axis(t.width, t.pad_left, t.stride_w, t.dilation_w, t.s);
    const int first_column = tile * Columns, taps = order.count();

    const GradRows<S, ChannelsLast> grad = {
        (const S*)t.grad + (int64_t)group * t.rows * t.pixels_at.channel, t.pixels_at, t.rows,
        t.grad_vectors, span};
    const TapRows<S, ChannelsLast> windows = {
        (const S*)t.source + group * t.channels * t.source_at.channel,
        t.source_at,
        t.source_height,
        t.source_width,
        t.height,
        t.width,
        order,
        vertical,
        horizontal,
        t.by_width,
        span};
    multiply_tiles<Multiply, Rows, Columns>(memory, grad, first_row, windows, first_column,
                                            span.count);
    for (int i = thread_index(); i < Rows * Columns; i += kTileThreads) {
      const int row = i / Columns, column = i % Columns;
      if (first_row + row >= t.rows || first_column + column >= taps) continue;
      int index = first_column + column;
      if constexpr (Merged) {
        Tap tap = order.at(index);
        int rest;
        if (t.by_group_channels.divide(tap.channel, tap.channel) !=
            t.by_group_rows.divide(first_row + row, rest))
          continue;
        index = sums.order.index_of(tap);
      }
      sums.template put<S>(split, group * t.rows + first_row + row, index,
                           memory.result.sums[row][column]);
    }
    sync_block();
  }
}

// ---- Launches

inline int64_t general_workspace(Op op, const Conv2dShape& d) {
  return op == Op::kGradWeight ? split_sums_bytes(d, general_splits(d).count) : 0;
}

template <class S, class Multiply, int Rows, int Columns, bool ChannelsLast, bool Merged>
cudaError_t launch_general_tiles(const Task& task, cudaStream_t stream) {
  const Conv2dShape& d = task.shape;
  GeneralTask t = general_task(task, Merged ? merged_groups(d) : 1);
  const int64_t row_tiles = ceil_div(t.rows, Rows);
  t.by_row_tiles = Divider(row_tiles);
  t.by_rows = LongDivider(row_tiles * t.groups);
  if (task.op != Op::kGradWeight) {
    const bool to_input = task.op == Op::kGradInput;
    const int64_t phases_h = to_input ? smaller(d.stride_h, d.h) : 1;
    const int64_t phases_w = to_input ? smaller(d.stride_w, d.w) : 1;
    t.by_phases_w = Divider(phases_w);
    t.common_h = greatest_common_divisor(t.stride_h, d.dilation_h);
    t.common_w = greatest_common_divisor(t.stride_w, d.dilation_w);
    t.most_rows = (int)ceil_div(t.height, to_input ? d.stride_h : 1);
    t.most_columns = (int)ceil_div(t.width, to_input ? d.stride_w : 1);
    for (int less = 0; less < 2; ++less) {
      t.by_pixel_rows[less] = LongDivider(larger(t.most_rows - less, 1));
      t.by_pixel_columns[less] = LongDivider(larger(t.most_columns - less, 1));
    }
    const int64_t tiles = ceil_div(d.n * t.most_rows * t.most_columns, Columns);
    t.by_tiles = Divider(tiles);
    t.tiles = tiles * phases_h * phases_w * row_tiles * t.groups;
    const Index3 grid = {(int)smaller(t.tiles, kMostBlocks), 1, 1};
    return launch<kTileThreads>(general_kernel<S, Multiply, Rows, Columns, ChannelsLast, Merged>,
                                grid, stream, t);
  }
  const Splits splits = general_splits(d);
  t.images_per_split = splits.images_per_split;
  t.pixels_per_part = (int)splits.pixels_per_part;
  t.by_parts = Divider(splits.parts);
  t.by_pixels_per_part = Divider(splits.pixels_per_part);
  t.by_width = Divider(d.q);
  const int64_t taps = t.channels * d.r * d.s, tiles = ceil_div(taps, Columns);
  t.by_tiles = Divider(tiles);
  t.tiles = tiles * splits.count * row_tiles * t.groups;
  const Index3 grid = {(int)smaller(t.tiles, kMostBlocks), 1, 1};
  const SplitSums<ChannelsLast> sums =
      split_sums(task, splits.count, TapOrder<ChannelsLast>(d.c_per_group(), t.r, t.s));
  const cudaError_t error = launch<kTileThreads>(
      general_grad_weight_kernel<S, Multiply, Rows, Columns, ChannelsLast, Merged>, grid, stream, t,
      sums);
  return error == cudaSuccess ? launch_ordered_sum<S>(sums, stream) : error;
}

// Few rows: a flat tile.
template <class S, template <class, int, int> class Multiply, bool Merged>
cudaError_t launch_general_as(const Task& task, cudaStream_t stream) {
  const Conv2dShape& d = task.shape;
  [[maybe_unused]] const int64_t rows =
      task.op == Op::kGradInput ? d.c_per_group() : d.k_per_group();
  const bool channels_last = d.layout == Layout::kChannelsLast;
  if constexpr (!Merged) {
    if (rows > 16) {
      using Square = Multiply<S, 64, 64>;
      return channels_last ? launch_general_tiles<S, Square, 64, 64, true, false>(task, stream)
                           : launch_general_tiles<S, Square, 64, 64, false, false>(task, stream);
    }
  }
  using Flat = Multiply<S, 16, 128>;
  return channels_last ? launch_general_tiles<S, Flat, 16, 128, true, Merged>(task, stream)
                       : launch_general_tiles<S, Flat, 16, 128, false, Merged>(task, stream);
}

template <bool Merged>
cudaError_t launch_general(const Task& task, cudaStream_t stream) {
  switch (task.shape.dtype) {
    case Dtype::kFloat64:
      return launch_general_as<double, FusedMultiplyAdd, Merged>(task, stream);
    case Dtype::kFloat32:
      return task.allow_tf32 ? launch_general_as<float, TensorCore, Merged>(task, stream)
                             : launch_general_as<float, FusedMultiplyAdd, Merged>(task, stream);
    case Dtype::kBFloat16:
      return launch_general_as<BFloat16, TensorCore, Merged>(task, stream);
    default:
      return launch_general_as<Float16, TensorCore, Merged>(task, stream);
  }
}

}  // namespace torchconv::cuda

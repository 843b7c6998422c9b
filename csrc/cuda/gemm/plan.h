// What the general kernels are told, and how a call becomes that: grids, splits, and which operands
// can be read as vectors. Vectors change no bits, so they may depend on addresses.
#pragma once

#include "cuda/device/index_math.h"
#include "cuda/task.h"

namespace torchconv::cuda {

// `source` is the tensor that is gathered: input, or grad for grad_input. height and width are those
// of the other one, the result or, for grad_weight, grad; its strides are pixels_at.
struct GeneralTask {
  Op op;
  const void *source, *weight, *bias, *grad;
  void* result;
  int64_t images;
  int source_height, source_width, height, width;
  Strides source_at, pixels_at;
  // Rows and channels of one group, or of the `merged` groups that are multiplied as one; rows are
  // those of the product.
  int groups, rows, channels, merged;
  Divider by_group_rows, by_group_channels;  // of one group alone
  int r, s, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w;
  int64_t weight_group;  // from one group alone to the next
  int64_t weight_row, weight_channel, weight_r, weight_s;
  bool weight_vectors, source_vectors, grad_vectors;

  // A block computes tile after tile, those of all rows and groups of some columns in turn: they read
  // the same pixels.
  int64_t tiles;
  LongDivider by_rows;             // tiles of all rows and groups
  Divider by_row_tiles, by_tiles;  // tiles: along the columns

  // forward and grad_input. A phase has as many pixels along an axis as the first, or one less.
  Divider by_phases_w;
  int common_h, common_w, most_rows, most_columns;
  LongDivider by_pixel_rows[2], by_pixel_columns[2];

  // grad_weight
  int64_t images_per_split;
  int pixels_per_part;
  Divider by_parts, by_pixels_per_part, by_width;
};

// How grad_weight cuts the sum over images and pixels: into whole images, or parts of one. A split
// has at least 1024 pixels, and so many that the sums of all splits are smaller than grad.
struct Splits {
  int64_t images_per_split, pixels_per_part, parts, count;
};

inline Splits general_splits(const Conv2dShape& d) {
  const int64_t pixels = d.p * d.q, taps = d.c_per_group() * d.r * d.s;
  const int64_t least = larger(1024, 2 * taps);
  Splits splits = {1, pixels, 1, d.n};
  if (least < pixels) {
    splits.pixels_per_part = ceil_div(ceil_div(pixels, ceil_div(pixels, least)), 32) * 32;
    splits.parts = ceil_div(pixels, splits.pixels_per_part);
    splits.count = d.n * splits.parts;
  } else {
    splits.images_per_split = least / pixels;
    splits.count = ceil_div(d.n, splits.images_per_split);
  }
  return splits;
}

constexpr int64_t kMostBlocks = 0x7fffffff;  // of a grid

inline int64_t size_of(Dtype dtype) {
  return dtype == Dtype::kFloat64 ? 8 : dtype == Dtype::kFloat32 ? 4 : 2;
}

// Indices within an image, a group of the weight and the kernel's reach are 32-bit numbers.
constexpr int64_t kReach = 1 << 28;

// A stride beyond the reach leaves one position, as any larger one does.
inline int stride_within_reach(int64_t stride) {
  return (int)smaller(stride, kReach);
}

inline bool general_applicable(Op, const Conv2dShape& d) {
  const int64_t limit = kReach;
  const int64_t reach_h = larger(d.h + d.pad_top + d.pad_bottom, d.r * d.dilation_h);
  const int64_t reach_w = larger(d.w + d.pad_left + d.pad_right, d.s * d.dilation_w);
  return reach_h < limit && reach_w < limit && d.r < limit && d.s < limit && d.c < limit &&
         d.k < limit && d.p * d.q < limit && d.r * d.s < limit &&
         larger(d.c_per_group(), d.k_per_group()) * d.r * d.s < limit;
}

inline bool aligned(const void* address) {
  return reinterpret_cast<uintptr_t>(address) % 16 == 0;
}

// Whether the taps of one filter lie in memory as TapOrder counts them.
inline bool weight_in_order(const Task& task) {
  const Conv2dShape& d = task.shape;
  const int64_t* const at = task.weight_stride;
  const bool channels_last = d.layout == Layout::kChannelsLast;
  const int64_t sizes[3] = {d.c_per_group(), d.r, d.s};
  const int order[2][3] = {{2, 1, 0}, {0, 2, 1}};
  int64_t expected = 1;
  for (const int i : order[channels_last]) {
    if (sizes[i] != 1 && at[i + 1] != expected) return false;
    expected *= sizes[i];
  }
  return true;
}

inline int greatest_common_divisor(int64_t a, int64_t b) {
  while (b) {
    const int64_t rest = a % b;
    a = b;
    b = rest;
  }
  return (int)a;
}

// Small groups fill a tile of 16 rows together: their weights are the blocks on the diagonal of one
// matrix. How many do is a matter of the shape, and a part of all groups.
constexpr int64_t kMergedRows = 16;

inline int64_t merged_groups(const Conv2dShape& d) {
  int64_t merged = kMergedRows / larger(d.c_per_group(), d.k_per_group());
  while (merged > 1 && d.groups % merged) --merged;
  return larger(merged, 1);
}

inline GeneralTask general_task(const Task& task, int64_t merged = 1) {
  const Conv2dShape& d = task.shape;
  const bool to_input = task.op == Op::kGradInput;
  const bool channels_last = d.layout == Layout::kChannelsLast;
  const int64_t vector = 16 / size_of(d.dtype);
  GeneralTask t{};
  t.op = task.op;
  t.source = to_input ? task.grad : task.input;
  t.weight = task.weight, t.bias = task.bias, t.grad = task.grad;
  t.result = task.result;
  t.images = d.n;
  t.source_height = (int)(to_input ? d.p : d.h), t.source_width = (int)(to_input ? d.q : d.w);
  t.height = (int)(to_input ? d.h : d.p), t.width = (int)(to_input ? d.w : d.q);
  t.source_at = to_input ? output_strides(d) : input_strides(d);
  t.pixels_at = to_input ? input_strides(d) : output_strides(d);
  const int64_t rows = to_input ? d.c_per_group() : d.k_per_group();
  const int64_t channels = to_input ? d.k_per_group() : d.c_per_group();
  t.by_group_rows = Divider(rows), t.by_group_channels = Divider(channels);
  t.groups = (int)(d.groups / merged), t.merged = (int)merged;
  t.rows = (int)(rows * merged), t.channels = (int)(channels * merged);
  t.r = (int)d.r, t.s = (int)d.s;
  t.stride_h = stride_within_reach(d.stride_h), t.stride_w = stride_within_reach(d.stride_w);
  t.pad_top = (int)d.pad_top, t.pad_left = (int)d.pad_left;
  t.dilation_h = (int)d.dilation_h, t.dilation_w = (int)d.dilation_w;
  t.weight_group = d.k_per_group() * task.weight_stride[0];
  t.weight_row = task.weight_stride[to_input ? 1 : 0];
  t.weight_channel = task.weight_stride[to_input ? 0 : 1];
  t.weight_r = task.weight_stride[2], t.weight_s = task.weight_stride[3];
  t.weight_vectors = task.op == Op::kForward && aligned(task.weight) && weight_in_order(task) &&
                     t.channels * d.r * d.s % vector == 0 && t.weight_row % vector == 0;
  t.source_vectors = channels_last && aligned(t.source) && t.channels % vector == 0;
  t.grad_vectors = !channels_last && aligned(task.grad) && d.p * d.q % vector == 0;
  return t;
}

}  // namespace torchconv::cuda

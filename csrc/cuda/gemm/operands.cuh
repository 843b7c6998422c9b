// The operands of the general algorithm: each turns (row of a tile, place in the reduction) into
// elements of a tensor, zero where there is none. `prepare` does what depends on the row alone,
// `load` gathers the neighbours along the reduction that fill one vector.
//
//   forward, grad_input   reduction: taps of the kernel in all channels of a group, `Tap`
//       WeightRows        rows: output (input) channels
//       MergedWeightRows  the same for several groups as one, zero where row and tap differ in theirs
//       WindowRows        rows: pixels of the result
//   grad_weight           reduction: pixels of the output in some images, `PixelSpan`
//       GradRows          rows: output channels
//       TapRows           rows: taps in all channels of a group, of the input
#pragma once

#include "cuda/axis.cuh"

namespace torchconv::cuda {

// Taps are counted as the weight lies in memory: channel, row, column; channels_last: row, column,
// channel.
struct Tap {
  int channel, row, column;
};

template <bool ChannelsLast>
struct TapOrder {
  int channels, rows, columns;
  Divider by_inner, by_middle;

  TapOrder() = default;
  __host__ __device__ TapOrder(int channel_count, int row_count, int column_count)
      : channels(channel_count),
        rows(row_count),
        columns(column_count),
        by_inner(larger(ChannelsLast ? channel_count : column_count, 1)),
        by_middle(larger(ChannelsLast ? column_count : row_count, 1)) {}

  __device__ __forceinline__ int count() const { return channels * rows * columns; }
  __device__ __forceinline__ int index_of(const Tap& tap) const {
    return ChannelsLast ? (tap.row * columns + tap.column) * channels + tap.channel
                        : (tap.channel * rows + tap.row) * columns + tap.column;
  }
  __device__ __forceinline__ Tap at(int index) const {
    int inner, middle;
    const int outer = by_middle.divide(by_inner.divide(index, inner), middle);
    return ChannelsLast ? Tap{inner, outer, middle} : Tap{outer, middle, inner};
  }
  __device__ __forceinline__ void advance(Tap& tap) const {
    if constexpr (ChannelsLast) {
      if (++tap.channel < channels) return;
      tap.channel = 0;
      if (++tap.column < columns) return;
      tap.column = 0;
      ++tap.row;
    } else {
      if (++tap.column < columns) return;
      tap.column = 0;
      if (++tap.row < rows) return;
      tap.row = 0;
      ++tap.channel;
    }
  }
};

template <class S, bool ChannelsLast>
struct WeightRows {
  static constexpr bool kAlongReduction = true;

  const S* weight;  // of the group
  int rows;
  int64_t row_stride, channel_stride, tap_row_stride, tap_column_stride;
  bool vectors;  // a row lies in the order of the taps, and its vectors are aligned
  TapOrder<ChannelsLast> order;
  Axis vertical, horizontal;

  struct Row {
    const S* weight;  // null beyond the last row
  };

  __device__ __forceinline__ Row prepare(int row) const {
    return {row < rows ? weight + row * row_stride : nullptr};
  }
  __device__ __forceinline__ Vector<S> load(const Row& row, int index) const {
    Vector<S> v{};
    const int count = order.count();
    if (!row.weight || index >= count) return v;
    if (vectors) return load_vector(row.weight + index);
    Tap tap = order.at(index);
#pragma unroll
    for (int i = 0; i < Vector<S>::kSize; ++i) {
      if (index + i < count) {
        v.at[i] = row.weight[tap.channel * channel_stride +
                             (vertical.first_tap + tap.row * vertical.tap_step) * tap_row_stride +
                             (horizontal.first_tap + tap.column * horizontal.tap_step) *
                                 tap_column_stride];
      }
      order.advance(tap);
    }
    return v;
  }
};

template <class S, bool ChannelsLast>
struct MergedWeightRows {
  static constexpr bool kAlongReduction = true;

  const S* weight;  // of the first of the groups
  int rows;         // of all of them
  int64_t group_stride, row_stride, channel_stride, tap_row_stride, tap_column_stride;
  Divider by_group_rows, by_group_channels;
  TapOrder<ChannelsLast> order;  // with the channels of all
  Axis vertical, horizontal;

  struct Row {
    const S* weight;  // null beyond the last row
    int group;
  };

  __device__ __forceinline__ Row prepare(int row) const {
    if (row >= rows) return {nullptr, 0};
    int rest;
    const int group = by_group_rows.divide(row, rest);
    return {weight + group * group_stride + rest * row_stride, group};
  }
  __device__ __forceinline__ Vector<S> load(const Row& row, int index) const {
    Vector<S> v{};
    const int count = order.count();
    if (!row.weight || index >= count) return v;
    Tap tap = order.at(index);
#pragma unroll
    for (int i = 0; i < Vector<S>::kSize; ++i) {
      int channel;
      if (index + i < count && by_group_channels.divide(tap.channel, channel) == row.group) {
        v.at[i] = row.weight[channel * channel_stride +
                             (vertical.first_tap + tap.row * vertical.tap_step) * tap_row_stride +
                             (horizontal.first_tap + tap.column * horizontal.tap_step) *
                                 tap_column_stride];
      }
      order.advance(tap);
    }
    return v;
  }
};

template <class S, bool ChannelsLast>
struct WindowRows {
  static constexpr bool kAlongReduction = ChannelsLast;

  const S* source;  // first channel of the group
  Strides at;
  int height, width;
  int64_t pixels;  // of all images in this phase
  bool vectors;    // channels_last: a vector of channels never ends in the next tap, and is aligned
  LongDivider by_column;
  LongDivider by_row;
  TapOrder<ChannelsLast> order;
  Axis vertical, horizontal;

  struct Row {
    const S* image;  // null beyond the last pixel
    int y, x;        // the source of the first tap
  };

  __device__ __forceinline__ Row prepare(int64_t pixel) const {
    if (pixel >= pixels) return {nullptr, 0, 0};
    int64_t column, row;
    const int64_t image = by_row.divide(by_column.divide(pixel, column), row);
    return {source + image * at.image, vertical.origin + (int)row * vertical.source_step,
            horizontal.origin + (int)column * horizontal.source_step};
  }
  __device__ __forceinline__ Vector<S> load(const Row& row, int index) const {
    Vector<S> v{};
    const int count = order.count();
    if (!row.image || index >= count) return v;
    Tap tap = order.at(index);
    if (ChannelsLast && vectors) {
      const int y = row.y + tap.row * vertical.source_tap_step;
      const int x = row.x + tap.column * horizontal.source_tap_step;
      if ((unsigned)y >= (unsigned)height || (unsigned)x >= (unsigned)width) return v;
      return load_vector(row.image + y * at.row + x * at.column + tap.channel);
    }
#pragma unroll
    for (int i = 0; i < Vector<S>::kSize; ++i) {
      const int y = row.y + tap.row * vertical.source_tap_step;
      const int x = row.x + tap.column * horizontal.source_tap_step;
      if (index + i < count && (unsigned)y < (unsigned)height && (unsigned)x < (unsigned)width)
        v.at[i] = row.image[tap.channel * at.channel + y * at.row + x * at.column];
      order.advance(tap);
    }
    return v;
  }
};

// The pixels that one split of grad_weight sums over: a part of one image, or whole images.
struct PixelSpan {
  int64_t image;  // the first
  int pixel;      // the first
  int count;
  Divider by_image;  // pixels of one image, at least `count` where it is a part
};

template <class S, bool ChannelsLast>
struct GradRows {
  static constexpr bool kAlongReduction = !ChannelsLast;

  const S* grad;  // first channel of the group
  Strides at;
  int rows;
  bool vectors;  // planes: vectors of pixels are aligned and never end in the next image
  PixelSpan span;

  struct Row {
    const S* grad;
  };

  __device__ __forceinline__ Row prepare(int row) const {
    return {row < rows ? grad + row * at.channel : nullptr};
  }
  __device__ __forceinline__ Vector<S> load(const Row& row, int index) const {
    Vector<S> v{};
    if (!row.grad || index >= span.count) return v;
    int pixel;
    const int64_t image = span.image + span.by_image.divide(index, pixel);
    const S* from = row.grad + image * at.image + (pixel + span.pixel) * at.column;
    if (!ChannelsLast && vectors) return load_vector(from);
#pragma unroll
    for (int i = 0; i < Vector<S>::kSize; ++i) {
      if (index + i < span.count) v.at[i] = *from;
      from += at.column;
      if (++pixel == span.by_image.divisor) {
        pixel = 0;
        from += at.image - span.by_image.divisor * at.column;
      }
    }
    return v;
  }
};

template <class S, bool ChannelsLast>
struct TapRows {
  static constexpr bool kAlongReduction = !ChannelsLast;

  const S* input;  // first channel of the group
  Strides at;
  int height, width;
  int out_height, out_width;
  TapOrder<ChannelsLast> order;
  Axis vertical, horizontal;
  Divider by_out_width;
  PixelSpan span;

  struct Row {
    const S* channel;  // null beyond the last tap
    int y, x;          // the source of the first pixel
  };

  __device__ __forceinline__ Row prepare(int index) const {
    if (index >= order.count()) return {nullptr, 0, 0};
    const Tap tap = order.at(index);
    return {input + tap.channel * at.channel, vertical.origin + tap.row * vertical.source_tap_step,
            horizontal.origin + tap.column * horizontal.source_tap_step};
  }
  __device__ __forceinline__ Vector<S> load(const Row& row, int index) const {
    Vector<S> v{};
    if (!row.channel || index >= span.count) return v;
    int pixel, q;
    const int image = span.by_image.divide(index, pixel);
    int p = by_out_width.divide(pixel + span.pixel, q);
    const S* from = row.channel + (span.image + image) * at.image;
#pragma unroll
    for (int i = 0; i < Vector<S>::kSize; ++i) {
      const int y = row.y + p * vertical.source_step, x = row.x + q * horizontal.source_step;
      if (index + i < span.count && (unsigned)y < (unsigned)height && (unsigned)x < (unsigned)width)
        v.at[i] = from[y * at.row + x * at.column];
      if (++q == out_width) {
        q = 0;
        if (++p == out_height) {
          p = 0;
          from += at.image;
        }
      }
    }
    return v;
  }
};

}  // namespace torchconv::cuda

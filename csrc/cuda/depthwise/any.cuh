// Depthwise forward and grad_input of any geometry: a thread computes a few pixels of one channel,
// or of a vector of channels in channels_last, straight from global memory. grad_input goes by the
// phases of the stride, so that it visits only taps that exist.
#pragma once

#include "cuda/axis.cuh"
#include "cuda/depthwise/task.h"

namespace torchconv::cuda {

constexpr int kAnyPixels = 4;  // of a thread

struct DepthwiseAnyTask : DepthwiseTask {
  int lanes;  // channels, or vectors of them, side by side in a block: a power of two
  int most_rows, most_columns;
  Divider by_lanes, by_tiles, by_phases_w, by_multiplier;
  LongDivider by_pixel_rows[2], by_pixel_columns[2];
};

template <class S, int Channels>
__device__ __forceinline__ void load_channels(S (&to)[Channels], const S* from) {
  if constexpr (Channels == 1) {
    to[0] = *from;
  } else {
    const Vector<S> v = load_vector(from);
#pragma unroll
    for (int i = 0; i < Channels; ++i) to[i] = v.at[i];
  }
}
template <class S, int Channels>
__device__ __forceinline__ void store_channels(S* to, const S (&from)[Channels]) {
  if constexpr (Channels == 1) {
    *to = from[0];
  } else {
    Vector<S> v;
#pragma unroll
    for (int i = 0; i < Channels; ++i) v.at[i] = from[i];
    store_vector(to, v);
  }
}

// Channels is 1, or the size of a vector where multiplier is 1.
template <class S, int Channels>
__global__ __launch_bounds__(kDepthwiseThreads, 4) void depthwise_any_kernel(DepthwiseAnyTask t) {
  using Sum = Compute<S>;
  const bool to_input = t.op == Op::kGradInput;
  int tile, phase_w, lane;
  const int phase = t.by_tiles.divide(block_index().x, tile);
  const int phase_h = t.by_phases_w.divide(phase, phase_w);
  const Axis vertical = to_input ? grad_input_axis(phase_h, t.height, t.pad_top, t.stride_h,
                                                   t.dilation_h, t.r, t.common_h)
                                 : forward_axis(t.height, t.pad_top, t.stride_h, t.dilation_h, t.r);
  const Axis horizontal =
      to_input
          ? grad_input_axis(phase_w, t.width, t.pad_left, t.stride_w, t.dilation_w, t.s, t.common_w)
          : forward_axis(t.width, t.pad_left, t.stride_w, t.dilation_w, t.s);
  const int strand = t.by_lanes.divide(thread_index(), lane), strands = kDepthwiseThreads / t.lanes;
  const int64_t first = (int64_t)tile * strands * kAnyPixels + strand;
  const int64_t pixels = t.images * vertical.pixels * horizontal.pixels;

  int64_t from[kAnyPixels], to[kAnyPixels];  // offsets; to is -1 beyond the last pixel
  int y[kAnyPixels], x[kAnyPixels];
#pragma unroll
  for (int i = 0; i < kAnyPixels; ++i) {
    const int64_t pixel = first + i * strands;
    int64_t row, column;
    const int64_t image = t.by_pixel_rows[vertical.pixels != t.most_rows].divide(
        t.by_pixel_columns[horizontal.pixels != t.most_columns].divide(pixel, column), row);
    // Beyond the last pixel: no row of the image, whatever the tap.
    y[i] = pixel < pixels ? vertical.origin + (int)row * vertical.source_step : -(1 << 30);
    x[i] = horizontal.origin + (int)column * horizontal.source_step;
    from[i] = image * t.source_at.image;
    to[i] =
        pixel >= pixels
            ? -1
            : image * t.pixels_at.image +
                  (vertical.first_pixel + row * vertical.pixel_step) * t.pixels_at.row +
                  (horizontal.first_pixel + column * horizontal.pixel_step) * t.pixels_at.column;
  }

  const int groups = (t.channels + t.lanes * Channels - 1) / (t.lanes * Channels);
  for (int group = block_index().y; group < groups; group += grid_size().y) {
    const int channel = (group * t.lanes + lane) * Channels;
    if (channel >= t.channels) continue;
    int rest;
    const int first_filter = to_input ? channel * t.multiplier : channel;
    const int first_source =
        to_input ? channel * t.multiplier : t.by_multiplier.divide(channel, rest);
    Sum sums[kAnyPixels][Channels] = {};
    for (int f = 0; f < (to_input ? t.multiplier : 1); ++f) {
      const S* const source = (const S*)t.source + (first_source + f) * t.source_at.channel;
      const S* const filter = (const S*)t.weight + (first_filter + f) * t.weight_k;
      for (int r = 0; r < vertical.taps; ++r) {
        const S* const filter_row =
            filter + (vertical.first_tap + r * vertical.tap_step) * t.weight_r;
        for (int s = 0; s < horizontal.taps; ++s) {
          const S* const tap =
              filter_row + (horizontal.first_tap + s * horizontal.tap_step) * t.weight_s;
          Sum w[Channels];
#pragma unroll
          for (int c = 0; c < Channels; ++c) w[c] = to_compute(tap[c * t.weight_k]);
#pragma unroll
          for (int i = 0; i < kAnyPixels; ++i) {
            const int row = y[i] + r * vertical.source_tap_step;
            const int column = x[i] + s * horizontal.source_tap_step;
            if ((unsigned)row >= (unsigned)t.source_height ||
                (unsigned)column >= (unsigned)t.source_width)
              continue;
            S v[Channels];
            load_channels(v,
                          source + from[i] + row * t.source_at.row + column * t.source_at.column);
#pragma unroll
            for (int c = 0; c < Channels; ++c)
              sums[i][c] = fused(w[c], to_compute(v[c]), sums[i][c]);
          }
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kAnyPixels; ++i) {
      if (to[i] < 0) continue;
      S result[Channels];
#pragma unroll
      for (int c = 0; c < Channels; ++c) {
        if (t.bias) sums[i][c] += to_compute(((const S*)t.bias)[channel + c]);
        from_compute(&result[c], sums[i][c]);
      }
      store_channels((S*)t.result + to[i] + channel * t.pixels_at.channel, result);
    }
  }
}

template <class S, int Channels>
cudaError_t launch_depthwise_any(const Task& task, cudaStream_t stream) {
  DepthwiseAnyTask t;
  static_cast<DepthwiseTask&>(t) = depthwise_task(task);
  const bool to_input = t.op == Op::kGradInput;
  const int64_t vectors = ceil_div(t.channels, Channels);
  t.lanes = task.shape.layout == Layout::kChannelsLast ? power_of_two(vectors, 32) : 1;
  t.most_rows = (int)ceil_div(t.height, to_input ? t.stride_h : 1);
  t.most_columns = (int)ceil_div(t.width, to_input ? t.stride_w : 1);
  for (int less = 0; less < 2; ++less) {
    t.by_pixel_rows[less] = LongDivider(larger(t.most_rows - less, 1));
    t.by_pixel_columns[less] = LongDivider(larger(t.most_columns - less, 1));
  }
  const int64_t tiles =
      ceil_div(t.images * t.most_rows * t.most_columns, kDepthwiseThreads / t.lanes * kAnyPixels);
  t.by_lanes = Divider(t.lanes), t.by_tiles = Divider(tiles);
  t.by_phases_w = Divider(t.phases_w), t.by_multiplier = Divider(t.multiplier);
  const Index3 grid = {(int)(tiles * t.phases_h * t.phases_w),
                       (int)smaller(ceil_div(vectors, t.lanes), 65535), 1};
  return launch<kDepthwiseThreads>(depthwise_any_kernel<S, Channels>, grid, stream, t);
}

}  // namespace torchconv::cuda

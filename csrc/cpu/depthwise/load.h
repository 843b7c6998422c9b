// The load stage of depthwise: the source rows of one block, with their padding, in the compute
// type.
#pragma once

#include "cpu/common/load_patch.h"
#include "cpu/depthwise/patch.h"

namespace torchconv::cpu {
namespace {

// Which source channels a block reads: plane i, lane l is channel (first + l * lane_step) / divide
// + i.
struct BlockChannels {
  int64_t first, count;  // count lanes, in destination channels
  int64_t lane_step, divide;
};

// out[i] = in[(column + i * step) * pixel], zero outside [0, width), and zeros or what the next row
// overwrites up to a vector behind out[count].
template <class S>
void load_spaced_row(const S* in, int64_t width, int64_t pixel, int64_t column, int64_t step,
                     int64_t count, Compute<S>* out) {
  using V = Simd<Compute<S>>;
  const auto [first, last] = inside(column, step, count, width);
  for (int64_t i = 0; i < first; i += V::kLanes) V::store(out + i, V::zero());
  if (step * pixel == 1) {
    in += column;
    int64_t i = first;
    for (; i + V::kLanes <= last; i += V::kLanes) V::store(out + i, V::load(in + i));
    if (i < last) V::store(out + i, V::load_first(in + i, last - i));
  } else {
    in += (column + first * step) * pixel;
    for (int64_t i = first; i < last; ++i, in += step * pixel) out[i] = to_compute(*in);
  }
  for (int64_t i = last; i < count; i += V::kLanes) V::store(out + i, V::zero());
}

// What padding repeats, in the place of the zeros that the above has written.
template <class S>
void repeat_in_row(const Image<S>& image, const S* in, int64_t pixel, int64_t column, int64_t step,
                   int64_t count, Compute<S>* out) {
  if (!image.margins.any()) return;
  const auto [first, last] = inside(column, step, count, image.width);
  const Margins& margins = image.margins;
  const auto [begin, end] =
      inside(column + margins.left, step, count, margins.left + image.width + margins.right);
  const auto repeat = [&](int64_t i) {
    out[i] = to_compute(in[image.column(column + i * step) * pixel]);
  };
  for (int64_t i = begin; i < smaller(first, end); ++i) repeat(i);
  for (int64_t i = larger(last, begin); i < end; ++i) repeat(i);
}

// Even and odd columns from `column` on, `count` of each.
template <class S>
void load_paired_row(const S* in, int64_t width, int64_t column, int64_t count, Compute<S>* even,
                     Compute<S>* odd) {
  using V = Simd<Compute<S>>;
  constexpr int64_t kLanes = V::kLanes;
  const auto at = [&](int64_t x) { return x >= 0 && x < width ? to_compute(in[x]) : 0; };
  int64_t i = 0;
  for (; i < count && column + 2 * i < 0; ++i) {
    even[i] = at(column + 2 * i);
    odd[i] = at(column + 2 * i + 1);
  }
  for (; i < count; i += kLanes) {
    const int64_t x = column + 2 * i, room = larger(0, smaller(2 * kLanes, width - x));
    auto a = room >= kLanes ? V::load(in + x) : V::load_first(in + x, room);
    auto b = room == 2 * kLanes ? V::load(in + x + kLanes)
                                : V::load_first(in + x + kLanes, larger(0, room - kLanes));
    V::deinterleave(a, b);
    if (i + kLanes <= count) {
      V::store(even + i, a);
      V::store(odd + i, b);
    } else {
      V::store_first(even + i, a, count - i);
      V::store_first(odd + i, b, count - i);
    }
  }
}

// Every channel several times, as lanes of a vector that is loaded once.
template <class S>
void load_repeated_row(const Image<S>& image, const DepthwisePatch& patch,
                       const BlockChannels& channels, int64_t y, int64_t column, int64_t lanes,
                       Compute<S>* out) {
  using V = Simd<Compute<S>>;
  constexpr int64_t kLanes = V::kLanes;
  const S* const row = image.data + y * image.width * image.channels;
  const S* const end = image.data + image.height * image.width * image.channels;
  for (int64_t lane = 0; lane < lanes; lane += kLanes) {
    const int64_t begin = (channels.first + lane) / channels.divide;
    int32_t source[kLanes];
    for (int64_t l = 0; l < kLanes; ++l) {
      source[l] = (int32_t)((channels.first + lane + l) / channels.divide - begin);
    }
    for (int64_t i = 0; i < patch.length; ++i) {
      const int64_t x = image.column(column + i * patch.column_skip);
      auto v = V::zero();
      if (x >= 0 && lane < channels.count) {
        const S* const at = row + x * image.channels + begin;
        v = at + kLanes <= end ? V::load(at) : V::load_first(at, end - at);
        v = V::permute(v, source);
      }
      V::store(out + i * lanes + lane, v);
    }
  }
}

// Every multiplier-th channel, or every channel several times.
template <class S>
void load_spread_row(const Image<S>& image, const DepthwisePatch& patch,
                     const BlockChannels& channels, int64_t plane, int64_t y, int64_t column,
                     int64_t lanes, Compute<S>* out) {
  if constexpr (sizeof(Compute<S>) == sizeof(float)) {
    if (channels.lane_step == 1) {
      return load_repeated_row(image, patch, channels, y, column, lanes, out);
    }
  }
  fill_zero(out, patch.row_pitch);
  const S* const in = image.data + y * image.width * image.channels + plane;
  for (int64_t i = 0; i < patch.length; ++i) {
    const int64_t x = image.column(column + i * patch.column_skip);
    if (x < 0) continue;
    for (int64_t l = 0; l < channels.count; ++l) {
      const int64_t channel = (channels.first + l * channels.lane_step) / channels.divide;
      out[i * lanes + l] = to_compute(in[x * image.channels + channel]);
    }
  }
}

// The rows [low, high) of one source plane for each destination plane, without padding; of several
// planes that are not transposed, all rows.
template <class S>
void load_unpadded(const Image<S>& image, bool channels_in_lanes, const BlockChannels& channels,
                   int64_t blocks, int64_t low, int64_t high, int64_t lanes, Compute<S>* out) {
  if (low >= high) return;
  const int64_t pixels = (high - low) * image.width;
  if (!channels_in_lanes) {
    const S* const in = image.data + (channels.first * image.height + low) * image.width;
    return copy_span(in, out, blocks * pixels);
  }
  if (channels.count < lanes) fill_zero(out, pixels * lanes);
  load_patch(image, {low, high - low, 1, 0, image.width, 1, channels.first, channels.count}, out,
             lanes);
}

// `rows` patch rows from source row `row` on, patch column 0 at source column `column`.
template <class S>
void load_depthwise_patch(const Image<S>& image, const DepthwisePatch& patch,
                          bool channels_in_lanes, const BlockChannels& channels, int64_t row,
                          int64_t rows, int64_t column, int64_t lanes, Compute<S>* out) {
  const int64_t first = channels.first / channels.divide, plane_size = image.height * image.width;
  const bool spread = channels.lane_step > 1 || channels.divide > 1;
  if (channels_in_lanes && !spread) {
    if (channels.count < lanes) fill_zero(out, rows * patch.row_pitch);
    return load_patch(
        image,
        {row, rows, patch.row_skip, column, patch.length, patch.column_skip, first, channels.count},
        out, lanes);
  }
  for (int64_t plane = 0; plane < patch.planes; ++plane) {
    for (int64_t i = 0; i < rows; ++i) {
      Compute<S>* const to = out + plane * patch.plane_pitch + i * patch.row_pitch;
      const int64_t y = image.row(row + i * patch.row_skip);
      if (y < 0) {
        fill_zero(to, patch.row_pitch);
      } else if (channels_in_lanes) {
        load_spread_row(image, patch, channels, plane, y, column, lanes, to);
      } else {
        const S* const in = image.data + y * image.width * patch.pixel +
                            (first + plane) * (patch.pixel == 1 ? plane_size : 1);
        if (patch.phases == 2 && patch.pixel == 1) {
          load_paired_row(in, image.width, column, patch.length, to, to + patch.length);
        } else {
          for (int64_t phase = 0; phase < patch.phases; ++phase) {
            load_spaced_row(in, image.width, patch.pixel, column + phase, patch.column_skip,
                            patch.length, to + phase * patch.length);
          }
        }
        for (int64_t phase = 0; phase < patch.phases; ++phase) {
          repeat_in_row(image, in, patch.pixel, column + phase, patch.column_skip, patch.length,
                        to + phase * patch.length);
        }
      }
    }
  }
}

}  // namespace
}  // namespace torchconv::cpu

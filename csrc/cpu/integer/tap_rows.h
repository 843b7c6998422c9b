// Few channels in a group: a step multiplies kStep neighbouring taps of a kernel row instead of channels. The patch
// holds for each source row and output column what the taps of that row see there, so that one load serves the
// lanes: columns of a plane, or, of depthwise layers in channels_last, channels of a pixel.
//
//     contiguous      [source row][channel][block of kStep taps][column][kStep]
//     channels_last   [source row][block of kStep taps][column][channel][kStep]
#pragma once

#include <type_traits>

#include "cpu/common/dispatch.h"
#include "cpu/integer/load.h"

namespace torchconv::cpu {
namespace {

constexpr int kTapVectors = 4;  // sums in registers

struct TapRows {
  const Task& task;
  const IntegerPlan& plan;
  const Gather& gather;
  int64_t n, first_row, rows;
  int64_t channel, channels;  // of the source: those of a group, or some of a depthwise layer's
  char* patch;
  char* spare;
  int64_t row_bytes, step_bytes;  // of the patch

  int64_t width() const { return gather.columns.dst_size; }
  int64_t source_row(int64_t row) const { return row * gather.rows.src_step - gather.rows.padding; }

  template <class In>
  void load() const {
    const Strides strides = dense(gather.layout, gather.groups * gather.src_channels,
                                  gather.rows.src_size, gather.columns.src_size);
    const In* const image = (const In*)task.input + n * strides.image + channel * strides.channel;
    __builtin_memset(spare, 0, (size_t)plan.row_bytes);
    const int64_t top = source_row(first_row);
    for (int64_t i = 0; i < plan.source_rows(rows); ++i) {
      const int64_t y = top + i;
      char* const out = patch + i * row_bytes;
      if (y < 0 || y >= gather.rows.src_size) {
        __builtin_memset(out, (int)plan.offset, (size_t)row_bytes);
      } else if (gather.layout == Layout::kContiguous) {
        load_planes(image + y * strides.row, strides.channel, out);
      } else {
        load_pixels(image + y * strides.row, strides.column, out);
      }
    }
  }

  // Each plane's row is copied between its padding, which `spare` has. Whole vectors are loaded, of which the last
  // lanes are no columns.
  template <class In>
  void load_planes(const In* row, int64_t plane, char* out) const {
    const Axis& axis = gather.columns;
    In* const line = (In*)spare;
    for (int64_t c = 0; c < channels; ++c) {
      __builtin_memcpy(line + axis.padding, row + c * plane, (size_t)axis.src_size);
      for (int64_t b = 0; b < plan.steps; ++b, out += 4 * plan.lane_pitch) {
        const In* planes[Dot::kStep];
        for (int j = 0; j < Dot::kStep; ++j)
          planes[j] = line + (b * Dot::kStep + j) * axis.dilation;
        if (axis.src_step == 1) {
          load_step(planes, 1, plan.lane_pitch, (int)plan.offset, out);
        } else {
          load_step(planes, axis.src_step, plan.lane_pitch, (int)plan.offset, out);
        }
      }
    }
  }

  template <class In>
  void load_pixels(const In* row, int64_t pixel, char* out) const {
    const Axis& axis = gather.columns;
    for (int64_t b = 0; b < plan.steps; ++b) {
      for (int64_t q = 0; q < width(); ++q, out += 4 * plan.lane_pitch) {
        const In* planes[Dot::kStep];
        for (int j = 0; j < Dot::kStep; ++j) {
          const int64_t x = q * axis.src_step - axis.padding + (b * Dot::kStep + j) * axis.dilation;
          planes[j] = x < 0 || x >= axis.src_size ? (const In*)spare : row + x * pixel;
        }
        load_step(planes, 1, channels, (int)plan.offset, out);
      }
    }
  }

  // sums[v] = start + the sum over kernel rows and their steps; distances in bytes. kLanes: whether weights differ
  // from lane to lane.
  template <int kCount, bool kOfLanes>
  void sum(const char* pixels, int64_t pixels_apart, const char* weights, int64_t weight_step,
           Dot::Vec start, Dot::Vec (&sums)[kCount]) const {
    for (int v = 0; v < kCount; ++v) sums[v] = start;
    const int64_t steps = kOfLanes ? plan.steps : plan.steps * channels;
    const int64_t down = gather.rows.dilation * row_bytes;
    for (int64_t r = 0; r < gather.rows.kernel; ++r, pixels += down) {
      for (int64_t i = 0; i < steps; ++i, weights += weight_step) {
        const char* const at = pixels + i * step_bytes;
        const Dot::Vec weight = kOfLanes ? Dot::load(weights) : Dot::broadcast(weights);
#pragma GCC unroll 4
        for (int v = 0; v < kCount; ++v) {
          sums[v] = Dot::add_products(sums[v], Dot::load(at + v * pixels_apart), weight);
        }
      }
    }
  }

  static void store_first(char* out, Dot::Vec sums, int64_t count) {
    if (count >= Dot::kLanes) return Dot::store(out, sums);
    char all[4 * Dot::kLanes];
    Dot::store(all, sums);
    __builtin_memcpy(out, all, (size_t)(4 * count));
  }

  // f(count, first) for the things [0, all) in groups of kTapVectors, the last one shorter.
  template <class F>
  static void in_groups(int64_t all, const F& f) {
    for (int64_t i = 0; i < all; i += kTapVectors) {
      dispatch_int<1, kTapVectors>(smaller(kTapVectors, all - i), [&](auto count) { f(count, i); });
    }
  }

  void sum_columns(int64_t group, const char* packed) const {
    const int64_t plane = gather.rows.dst_size * width(), out_channels = gather.dst_channels;
    const char* const starts = packed + gather.groups * out_channels * plan.panel_bytes;
    constexpr int64_t kVector = 4 * Dot::kLanes;
    for (int64_t i = 0; i < out_channels; ++i) {
      const int64_t k = group * out_channels + i;
      const char* const weights = packed + k * plan.panel_bytes;
      const Dot::Vec start = Dot::broadcast(starts + 4 * k);
      for (int64_t p = 0; p < rows; ++p) {
        char* const out = (char*)task.result + 4 * ((n * gather.groups * out_channels + k) * plane +
                                                    (first_row + p) * width());
        const char* const pixels = patch + p * gather.rows.src_step * row_bytes;
        in_groups(plan.lane_pitch / Dot::kLanes, [&](auto count, int64_t first) {
          Dot::Vec sums[count.value];
          sum<count.value, false>(pixels + first * kVector, kVector, weights, 4, start, sums);
          for (int v = 0; v < count.value; ++v) {
            const int64_t q = (first + v) * Dot::kLanes;
            store_first(out + 4 * q, sums[v], width() - q);
          }
        });
      }
    }
  }

  void sum_channels(const char* packed) const {
    const int64_t all = gather.groups, padded = round_up(all, Dot::kLanes);
    const char* const starts = packed + plan.panel_bytes;
    for (int64_t p = 0; p < rows; ++p) {
      char* const out =
          (char*)task.result +
          4 * (((n * gather.rows.dst_size + first_row + p) * width()) * all + channel);
      const char* const pixels = patch + p * gather.rows.src_step * row_bytes;
      for (int64_t c = 0; c < channels; c += Dot::kLanes) {
        const Dot::Vec start = Dot::load(starts + 4 * (channel + c));
        const char* const weights = packed + 4 * (channel + c);
        in_groups(width(), [&](auto count, int64_t first) {
          Dot::Vec sums[count.value];
          sum<count.value, true>(pixels + 4 * (first * plan.lane_pitch + c), 4 * plan.lane_pitch,
                                 weights, 4 * padded, start, sums);
          for (int v = 0; v < count.value; ++v) {
            store_first(out + 4 * ((first + v) * all + c), sums[v], channels - c);
          }
        });
      }
    }
  }
};

// The taps of one filter and source channel, [kernel row][step], so many bytes apart; returns their sum.
inline int32_t pack_taps(const Task& task, const IntegerPlan& plan, int64_t k, int64_t c, char* out,
                         int64_t step_bytes, int64_t row_bytes) {
  const int64_t* const stride = task.weight_stride;
  int32_t sum = 0;
  for (int64_t r = 0; r < plan.gather.rows.kernel; ++r) {
    for (int64_t i = 0; i < plan.steps * Dot::kStep; ++i) {
      const bool real = i < plan.gather.columns.kernel;
      const int8_t value =
          real ? ((const int8_t*)
                      task.weight)[k * stride[0] + c * stride[1] + r * stride[2] + i * stride[3]]
               : (int8_t)0;
      sum += value;
      put(out + r * row_bytes + i / Dot::kStep * step_bytes + i % Dot::kStep * kElementBytes,
          (Dot::Element)value);
    }
  }
  return sum;
}

inline void pack_start(const Task& task, const IntegerPlan& plan, int64_t k, int32_t sum,
                       char* out) {
  uint32_t start = task.bias ? (uint32_t)((const int32_t*)task.bias)[k] : 0;
  start -= (uint32_t)plan.offset * (uint32_t)sum;
  __builtin_memcpy(out, &start, sizeof(start));
}

// Of one group, or of all channels of a depthwise layer in channels_last.
inline void pack_tap_rows(const Task& task, const IntegerPlan& plan, int64_t group, char* packed) {
  const Gather& gather = plan.gather;
  const int64_t out_channels = gather.dst_channels, channels = gather.src_channels;
  if (gather.layout == Layout::kChannelsLast) {
    const int64_t padded = round_up(gather.groups, Dot::kLanes);
    __builtin_memset(packed, 0, (size_t)plan.shared_bytes);
    for (int64_t k = 0; k < gather.groups; ++k) {
      const int32_t sum =
          pack_taps(task, plan, k, 0, packed + 4 * k, 4 * padded, 4 * padded * plan.steps);
      pack_start(task, plan, k, sum, packed + plan.panel_bytes + 4 * k);
    }
    return;
  }
  for (int64_t k = group * out_channels; k < (group + 1) * out_channels; ++k) {
    char* const filter = packed + k * plan.panel_bytes;
    int32_t sum = 0;
    for (int64_t c = 0; c < channels; ++c) {
      sum += pack_taps(task, plan, k, c, filter + 4 * c * plan.steps, 4, 4 * plan.steps * channels);
    }
    pack_start(task, plan, k, sum,
               packed + gather.groups * out_channels * plan.panel_bytes + 4 * k);
  }
}

inline void tap_rows(const Task& task, const IntegerPlan& plan, const Job& job) {
  if (job.stage == 0) return pack_tap_rows(task, plan, job.index, job.shared);
  const Gather& gather = plan.gather;
  const bool last = gather.layout == Layout::kChannelsLast;
  const int64_t block = job.index % plan.pieces, rest = job.index / plan.pieces;
  const int64_t part = rest % plan.rows.count, n = rest / plan.rows.count;
  const int64_t size = last ? plan.lane_pitch : gather.src_channels, first = block * size;
  const int64_t channels = smaller(size, gather.groups * gather.src_channels - first);
  const int64_t columns = last ? gather.columns.dst_size : 1;
  const TapRows rows{task,
                     plan,
                     gather,
                     n,
                     plan.rows.begin(part),
                     plan.rows.length(part, gather.rows.longest),
                     first,
                     channels,
                     job.scratch,
                     job.scratch + plan.patch_bytes,
                     plan.tap_patch_row_bytes(),
                     4 * plan.lane_pitch * columns};
  if (plan.is_signed) {
    rows.load<int8_t>();
  } else {
    rows.load<uint8_t>();
  }
  if (last) return rows.sum_channels(job.shared);
  rows.sum_columns(block, job.shared);
}

}  // namespace
}  // namespace torchconv::cpu

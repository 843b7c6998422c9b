// What stands between tensors and register tiles: part of an image as a patch [row][column][channel], padded; and
// weights as [tap][step][output channel], the first stage.
#pragma once

#include "cpu/common/load_patch.h"
#include "cpu/integer/plan.h"
#include "cpu/simd/dot.h"

namespace torchconv::cpu {
namespace {

inline void put(char* out, Dot::Element value) {
  __builtin_memcpy(out, &value, sizeof(value));  // the same bytes are read as other types
}

constexpr int64_t kElementBytes = sizeof(Dot::Element);

// count elements, `step` apart
template <class In>
void load_elements(const In* __restrict__ in, int64_t step, int64_t count, int offset,
                   char* __restrict__ out) {
  for (int64_t i = 0; i < count; ++i) {
    put(out + i * kElementBytes, (Dot::Element)(in[i * step] + offset));
  }
}

// One step of `count` pixels from kStep planes.
template <class In>
void load_step(const In* const* planes, int64_t step, int64_t count, int offset,
               char* __restrict__ out) {
  const In* __restrict__ a = planes[0], * __restrict__ b = planes[1];
  if constexpr (Dot::kStep == 2) {
    for (int64_t i = 0; i < count; ++i) {
      put(out + 4 * i, (Dot::Element)(a[i * step] + offset));
      put(out + 4 * i + kElementBytes, (Dot::Element)(b[i * step] + offset));
    }
  } else {
    const In* __restrict__ c = planes[2], * __restrict__ d = planes[3];
    for (int64_t i = 0; i < count; ++i) {
      put(out + 4 * i, (Dot::Element)(a[i * step] + offset));
      put(out + 4 * i + 1, (Dot::Element)(b[i * step] + offset));
      put(out + 4 * i + 2, (Dot::Element)(c[i * step] + offset));
      put(out + 4 * i + 3, (Dot::Element)(d[i * step] + offset));
    }
  }
}

// Some columns of a row of an image, from the first channel of a group.
template <class In>
struct IntegerRow {
  const In* first;
  Strides strides;
  int64_t channels, skip, count;
};

// Some pixels at a time, so that they stay in the first cache by channels. Where the last step has too few channels
// it repeats one: its weights are zero.
template <class In>
void load_planes(const IntegerPlan& plan, const IntegerRow<In>& row, char* by_channels, char* out) {
  const int64_t skip = row.skip * row.strides.column;
  for (int64_t x = 0; x < row.count; x += kIntegerLoad, out += kIntegerLoad * plan.pixel_bytes()) {
    const int64_t count = smaller(kIntegerLoad, row.count - x);
    char* const steps = plan.steps == 1 ? out : by_channels;
    for (int64_t i = 0; i < plan.steps; ++i) {
      const In* planes[Dot::kStep];
      for (int j = 0; j < Dot::kStep; ++j) {
        const int64_t channel = smaller(i * Dot::kStep + j, row.channels - 1);
        planes[j] = row.first + channel * row.strides.channel + x * skip;
      }
      if (skip == 1) {
        load_step(planes, 1, count, (int)plan.offset, steps + 4 * i * count);
      } else {
        load_step(planes, skip, count, (int)plan.offset, steps + 4 * i * count);
      }
    }
    if (plan.steps == 1) continue;
    transpose_copy((const float*)by_channels, count, plan.steps, count, (float*)out, plan.steps);
  }
}

template <class In>
void load_pixels(const IntegerPlan& plan, const IntegerRow<In>& row, char* out) {
  const int64_t step = row.skip * row.strides.column, pixel = plan.pixel_bytes();
  const int offset = (int)plan.offset;
  if (row.channels * kElementBytes == pixel && step == row.channels) {
    return load_elements(row.first, 1, row.count * row.channels, offset, out);
  }
  constexpr int64_t kBlock = 16;
  const int64_t blocks = row.channels / kBlock, filled = row.channels * kElementBytes;
  for (int64_t i = 0; i < row.count; ++i, out += pixel) {
    const In* const in = row.first + i * step;
    for (int64_t b = 0; b < blocks; ++b) {
      const In* __restrict__ from = in + b * kBlock;
      char* __restrict__ to = out + b * kBlock * kElementBytes;
      for (int64_t c = 0; c < kBlock; ++c)
        put(to + c * kElementBytes, (Dot::Element)(from[c] + offset));
    }
    const int64_t loaded = blocks * kBlock;
    if (loaded < row.channels)
      load_elements(in + loaded, 1, row.channels - loaded, offset, out + loaded * kElementBytes);
    if (filled < pixel) __builtin_memset(out + filled, 0, (size_t)(pixel - filled));
  }
}

// The patch of `count` rows of pixels from `first` on.
template <class In>
void load_integers(const Task& task, const IntegerPlan& plan, int64_t n, int64_t group,
                   int64_t first, int64_t count, char* patch, char* by_channels) {
  const Gather& gather = plan.gather;
  const int64_t channels = gather.src_channels, pixel = plan.pixel_bytes();
  const Strides strides =
      dense(gather.layout, gather.groups * channels, gather.rows.src_size, gather.columns.src_size);
  const In* const image =
      (const In*)task.input + n * strides.image + group * channels * strides.channel;
  for (int64_t section = 0; section < plan.patch.sections; ++section) {
    const PatchBox box = section_box(plan.patch, gather, section, first, count, 0, channels);
    const Range real = inside(box.column, box.column_skip, box.columns, gather.columns.src_size);
    const int64_t left = real.begin * pixel, right = real.end * pixel;
    char* out = patch + section * plan.patch.section_rows(plan.rows.size) * plan.patch_row_bytes();
    const auto load = [&](int64_t y, int64_t pixels, char* to) {
      const int64_t x = box.column + real.begin * box.column_skip;
      const IntegerRow<In> row{image + y * strides.row + x * strides.column, strides, channels,
                               box.column_skip, pixels};
      if (gather.layout == Layout::kContiguous || plan.steps == 1) {
        load_planes(plan, row, by_channels, to);
      } else {
        load_pixels(plan, row, to);
      }
    };
    const bool whole = box.column == 0 && box.columns == gather.columns.src_size &&
                       box.column_skip == 1 && box.row_skip == 1;
    if (whole && box.row >= 0 && box.row + box.rows <= gather.rows.src_size) {
      load(box.row, box.rows * box.columns, out);  // they are one row
      continue;
    }
    for (int64_t i = 0; i < box.rows; ++i, out += plan.patch_row_bytes()) {
      const int64_t y = box.row + i * box.row_skip;
      if (y < 0 || y >= gather.rows.src_size || real.begin == real.end) {
        __builtin_memset(out, (int)plan.offset, (size_t)plan.patch_row_bytes());
        continue;
      }
      __builtin_memset(out, (int)plan.offset, (size_t)left);
      __builtin_memset(out + right, (int)plan.offset, (size_t)(plan.patch_row_bytes() - right));
      load(y, real.end - real.begin, out + left);
    }
  }
}

inline int32_t sum_of_bytes(const char* bytes, int64_t count) {
  int32_t sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += (int8_t)bytes[i];
  return sum;
}

// One filter whose taps lie side by side in each channel, as [step][tap].
inline void load_filter_steps(const int8_t* filter, int64_t channel_stride, int64_t channels,
                              int64_t taps, char* out) {
  for (int64_t c = 0; c < channels; c += Dot::kStep, out += 4 * taps) {
    const int8_t* rows[Dot::kStep];
    for (int j = 0; j < Dot::kStep; ++j)
      rows[j] = filter + smaller(c + j, channels - 1) * channel_stride;
    if constexpr (Dot::kStep == 4) {
      const uint8_t* bytes[4];
      for (int j = 0; j < 4; ++j) bytes[j] = (const uint8_t*)rows[j];
      Dot::interleave(bytes, taps, 0, out);
    } else {
      load_step(rows, 1, taps, 0, out);
    }
    const int64_t filled = (channels - c) * kElementBytes;
    if (filled < 4)
      for (int64_t i = 0; i < taps; ++i) __builtin_memset(out + 4 * i + filled, 0, 4 - filled);
  }
}

// The weights of one panel, and behind those of all panels what its sums start with.
inline void pack_integers(const Task& task, const IntegerPlan& plan, int64_t index, char* packed,
                          char* scratch) {
  const Gather& gather = plan.gather;
  const int64_t group = index / plan.panels, first = index % plan.panels * plan.panel;
  const int64_t valid = smaller(plan.panel, gather.dst_channels - first);
  const int64_t taps = gather.taps(), steps = plan.steps, all_steps = steps * taps;
  const int64_t filter = 4 * all_steps, panel = plan.panel;
  const int64_t* const stride = task.weight_stride;
  const int64_t panels = gather.groups * plan.panels;
  char* const starts = packed + panels * plan.panel_bytes + index * panel * 4;
  // One image of 512 channels, 3 x 3 at 7 x 7, takes 0.56 of the time of copying each tap channel by channel (Zen 4).
  const bool by_steps =
      taps > 1 && stride[1] != 1 && stride[3] == 1 && stride[2] == gather.columns.kernel;
  __builtin_memset(scratch, 0, (size_t)plan.panel_bytes);
  for (int64_t i = 0; i < panel; ++i) {
    uint32_t start = 0;
    if (i < valid) {
      const int64_t k = group * gather.dst_channels + first + i;
      const int8_t* const weights = (const int8_t*)task.weight + k * stride[0];
      char* out = scratch + i * filter;
      if (by_steps) {
        load_filter_steps(weights, stride[1], gather.src_channels, taps, out);
      } else {
        for (int64_t r = 0; r < gather.rows.kernel; ++r) {
          for (int64_t s = 0; s < gather.columns.kernel; ++s, out += plan.pixel_bytes())
            load_elements(weights + r * stride[2] + s * stride[3], stride[1], gather.src_channels,
                          0, out);
        }
      }
      if (plan.offset)
        start -= (uint32_t)plan.offset * (uint32_t)sum_of_bytes(scratch + i * filter, filter);
      if (task.bias) start += (uint32_t)((const int32_t*)task.bias)[k];
    }
    __builtin_memcpy(starts + 4 * i, &start, sizeof(start));
  }
  float* const to = (float*)(packed + index * plan.panel_bytes);
  if (by_steps) {
    const uint32_t count = (uint32_t)taps;
    const auto column = [=](int64_t j) {
      const uint32_t step = (uint32_t)j / count, tap = (uint32_t)j % count;
      return to + (tap * steps + step) * panel;
    };
    transpose_to<const float*, float, float>((const float*)scratch, all_steps, panel, all_steps,
                                             column, (const float*)nullptr);
  } else {
    transpose_copy((const float*)scratch, all_steps, panel, all_steps, to, panel);
  }
}

}  // namespace
}  // namespace torchconv::cpu

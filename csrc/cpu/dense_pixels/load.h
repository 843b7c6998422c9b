// The load and store stages of dense_pixels: rows of pixels between the tensors and the planes of a
// job.
#pragma once

#include "cpu/common/copy.h"
#include "cpu/common/load_patch.h"
#include "cpu/dense_pixels/plan.h"

namespace torchconv::cpu {
namespace {

// Part of one channel's row, every step-th element from x on, `count` of them, zeros outside the
// row.
struct RowSpan {
  int64_t x, step, count;
  int64_t first, last;  // of the count, those inside the row

  RowSpan(int64_t x, int64_t step, int64_t count, int64_t width) : x(x), step(step), count(count) {
    const Range range = inside(x, step, count, width);
    first = range.begin, last = range.end;
  }
};

// Row `y` of one channel of the contiguous layout.
template <class S>
auto plane_row(const Image<S>& image, int64_t channel, int64_t y) {
  const int64_t plane = image.height * image.width;
  return Reading<S>::row(image.data + channel * Reading<S>::kChannels * plane + y * image.width,
                         plane);
}

// Rows of one channel of the contiguous layout, from coordinate y on, every `skip`-th, to out + row
// * pitch. Writes in order of the addresses and may write zeros up to a vector beyond the end.
template <class S>
void load_plane(const Image<S>& image, int64_t channel, int64_t y, int64_t rows, int64_t skip,
                const RowSpan& w, Operand<S>* out, int64_t pitch) {
  using V = Simd<Operand<S>>;
  constexpr int64_t kLanes = V::kLanes, kLine = 64 / (int64_t)sizeof(typename Reading<S>::Stored);
  const int64_t count = w.last - w.first, ahead = 2 * image.height * image.width;
  const int64_t reach = count ? (count - 1) * w.step + 1 : 0;  // less than a row, whatever the step
  auto from = plane_row(image, channel, y) + (w.x + w.first * w.step);
  fill_zero_vectors(out, w.first);
  // A row ends with the zeros that begin the next one.
  out += w.first;
  for (int64_t i = 0; i < rows; ++i, y += skip, from = from + skip * image.width, out += pitch) {
    int64_t x = 0;
    if (y >= 0 && y < image.height) {
      // Planes are far apart: no hardware prefetcher sees the next one coming.
      for (int64_t at = 0; at < reach; at += kLine) prefetch_row(from + (ahead + at));
      if (w.step > 1) {
        load_strided(from, out, count, w.step);
        x = count;
      } else {
        for (; x + kLanes <= count; x += kLanes) V::store(out + x, V::load(from + x));
        if (x < count) V::store(out + x, V::load_first(from + x, count - x));
        x = round_up(count, kLanes);
      }
    }
    const int64_t end = i + 1 < rows ? pitch : w.count - w.first;
    for (; x < end; x += kLanes) V::store(out + x, V::zero());
  }
}

// The same of one row where padding repeats elements; writes nothing beyond the end.
template <class S>
void load_repeated_row(const Image<S>& image, int64_t channel, int64_t y, const RowSpan& w,
                       Operand<S>* out) {
  y = image.row(y);
  if (y < 0) return fill_zero(out, w.count);
  const auto from = plane_row(image, channel, y);
  if (w.first < w.last)
    load_strided(from + (w.x + w.first * w.step), out + w.first, w.last - w.first, w.step);
  const auto repeat = [&](int64_t i) {
    const int64_t x = image.column(w.x + i * w.step);
    out[i] = x < 0 ? Operand<S>{} : to_compute(from[x]);
  };
  for (int64_t i = 0; i < w.first; ++i) repeat(i);
  for (int64_t i = w.last; i < w.count; ++i) repeat(i);
}

// Neighbouring elements, `kStep` for each of `count` positions, at most a vector of them, sorted by their remainder.
template <int kStep, bool kWhole, class In>
[[gnu::always_inline]] inline void load_remainders(In from, int64_t count, OperandIn<In>* out,
                                                   int64_t plane_pitch) {
  using V = Simd<OperandIn<In>>;
  constexpr int64_t kLanes = V::kLanes;
  static_assert(kStep == 2 || kStep == 4);
  typename V::Vec v[kStep];
#pragma GCC unroll 4
  for (int i = 0; i < kStep; ++i) {
    const int64_t left = larger(0, smaller(kLanes, kStep * count - i * kLanes));
    v[i] = kWhole ? V::load(from + i * kLanes)
                  : V::load_first(from + smaller(i * kLanes, kStep * count), left);
  }
#pragma GCC unroll 2
  for (int i = 0; i < kStep; i += 2) V::deinterleave(v[i], v[i + 1]);
  if constexpr (kStep == 4) {
    V::deinterleave(v[0], v[2]);
    V::deinterleave(v[1], v[3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < kStep; ++i) {
    if constexpr (kWhole) {
      V::store(out + i * plane_pitch, v[i]);
    } else {
      V::store_first(out + i * plane_pitch, v[i], count);
    }
  }
}

// As load_plane, for all kStep planes that share rows: column i of plane p is column x + i * kStep +
// p of the image.
template <int kStep, class S>
void load_planes(const Image<S>& image, int64_t channel, int64_t y, int64_t rows, int64_t skip,
                 int64_t x, int64_t count, Operand<S>* out, int64_t pitch, int64_t plane_pitch) {
  constexpr int64_t kLanes = Simd<Operand<S>>::kLanes,
                    kLine = 64 / (int64_t)sizeof(typename Reading<S>::Stored);
  const int64_t width = image.width, ahead = 2 * image.height * width;
  // Positions [first, last) lie inside the image with all planes.
  const auto [first, last] = inside(x, kStep, count, width - (kStep - 1));
  auto from = plane_row(image, channel, y);
  for (int64_t i = 0; i < rows; ++i, y += skip, from = from + skip * width, out += pitch) {
    if (y < 0 || y >= image.height) {
      for (int64_t p = 0; p < kStep; ++p) fill_zero(out + p * plane_pitch, count);
      continue;
    }
    // Image planes are far apart: no hardware prefetcher sees the next one coming.
    for (int64_t at = 0; at < width; at += kLine) prefetch_row(from + (ahead + at));
    const auto one_by_one = [&](int64_t begin, int64_t end) {
      for (int64_t j = begin; j < end; ++j) {
        for (int64_t p = 0; p < kStep; ++p) {
          const int64_t at = x + j * kStep + p;
          out[p * plane_pitch + j] = at >= 0 && at < width ? to_compute(from[at]) : Operand<S>{};
        }
      }
    };
    one_by_one(0, first);
    int64_t j = first;
    for (; j + kLanes <= last; j += kLanes) {
      load_remainders<kStep, true>(from + x + j * kStep, kLanes, out + j, plane_pitch);
    }
    if (j < last && last - first >= kLanes) {
      j = last - kLanes;
      load_remainders<kStep, true>(from + x + j * kStep, kLanes, out + j, plane_pitch);
    } else if (j < last) {
      load_remainders<kStep, false>(from + x + j * kStep, last - j, out + j, plane_pitch);
    }
    one_by_one(larger(first, last), count);
  }
}

// One row of `channels` neighbouring channels of the channels-last layout, channel c to out + c *
// pitch.
template <class S>
void load_plane_row(const Image<S>& image, int64_t channel, int64_t channels, int64_t y,
                    const RowSpan& w, Operand<S>* out, int64_t pitch) {
  y = image.row(y);
  if (image.margins.any() && y >= 0) {
    const auto* const row = image.data + y * image.width * image.channels * Reading<S>::kChannels;
    const auto repeat = [&](int64_t i) {
      const int64_t x = image.column(w.x + i * w.step);
      const auto in = Reading<S>::channels(row + (larger(0, x) * image.channels + channel) *
                                                     Reading<S>::kChannels);
      for (int64_t c = 0; c < channels; ++c)
        out[c * pitch + i] = x < 0 ? Operand<S>{} : to_compute(in[c]);
    };
    for (int64_t i = 0; i < w.first; ++i) repeat(i);
    for (int64_t i = w.last; i < w.count; ++i) repeat(i);
    if (w.first == w.last) return;
  }
  const bool inside = y >= 0 && w.first < w.last;
  const int64_t first = inside ? w.first : w.count, last = inside ? w.last : w.count;
  for (int64_t c = 0; c < channels && (!inside || !image.margins.any()); ++c) {
    fill_zero_vectors(out + c * pitch, first);
    fill_zero_vectors(out + c * pitch + last, w.count - last);
  }
  if (!inside) return;
  const int64_t at = (y * image.width + w.x + w.first * w.step) * image.channels + channel;
  transpose_copy(Reading<S>::channels(image.data + at * Reading<S>::kChannels),
                 w.step * image.channels, last - first, channels, out + first, pitch);
}

// `count` channels of each of a job's groups, from `chunk_begin` on, as planes.
template <template <class, class> class Job, class S, class A>
void load_pixels(const Job<S, A>& job, A* out_planes, int64_t chunk_begin, int64_t count) {
  using Loaded = LoadedAs<S, A>;
  const Gather& gather = job.gather;
  const PixelPlan& plan = job.plan;
  const auto source = source_image<Loaded>(job.task, gather, job.image_begin);
  const int64_t first = job.group_begin * gather.src_channels + chunk_begin,
                planes = plan.planes.count();
  const bool together = gather.layout == Layout::kChannelsLast;  // all channels of a row at once
  const int64_t step = gather.columns.src_step;
  // Planes that are read at once lie beside each other in a row.
  const bool at_once = !together && !gather.margins.any() && (step == 2 || step == 4) &&
                       plan.planes.of_columns == step && plane_first(gather.columns, 1) == 1;
  for (int64_t c = 0; c < (together ? 1 : count); ++c) {
    for (int64_t plane = 0; plane < planes; plane += at_once ? step : 1) {
      const int64_t y = job.row_begin * gather.rows.src_step + gather.rows.src_low -
                        gather.margins.top +
                        plane_first(gather.rows, plane / plan.planes.of_columns);
      const int64_t x = job.column_begin * gather.columns.src_step + gather.columns.src_low -
                        gather.margins.left +
                        plane_first(gather.columns, plane % plan.planes.of_columns);
      const RowSpan window(x, gather.columns.src_step, plan.planes.columns, source.width);
      for (int64_t n = 0; n < job.images; ++n) {
        const Image<Loaded> image = source.after(n);
        A* const out = out_planes + c * job.channel_pitch + plane * plan.planes.plane_pitch +
                       n * plan.planes.image_pitch;
        if (at_once) {
          const auto load = step == 2 ? load_planes<2, Loaded> : load_planes<4, Loaded>;
          load(image, first + c, y, plan.planes.rows, gather.rows.src_step, x, plan.planes.columns,
               out, plan.planes.pitch, plan.planes.plane_pitch);
          continue;
        }
        if (!together && gather.margins.any()) {
          for (int64_t i = 0; i < plan.planes.rows; ++i) {
            load_repeated_row<Loaded>(image, first + c, y + i * gather.rows.src_step, window,
                                      out + i * plan.planes.pitch);
          }
          continue;
        }
        if (!together) {
          load_plane<Loaded>(image, first + c, y, plan.planes.rows, gather.rows.src_step, window,
                             out, plan.planes.pitch);
          continue;
        }
        for (int64_t i = 0; i < plan.planes.rows; ++i) {
          load_plane_row<Loaded>(image, first, count, y + i * gather.rows.src_step, window,
                                 out + i * plan.planes.pitch, job.channel_pitch);
        }
      }
    }
  }
}

}  // namespace
}  // namespace torchconv::cpu

// The load and store stages of pixel_lanes: rows of pixels between the tensors and the planes of a
// job. Included inside the namespace of each isa_*.cpp.
#pragma once

template <class T>
void zero_run(T* out, int64_t count) {
  using S = Simd<T>;
  for (int64_t i = 0; i < count; i += S::kLanes) {
    S::store_first(out + i, S::zero(), smaller(count - i, S::kLanes));
  }
}

// out[i * step] = in[i]
template <class T, class Out>
void store_run(const T* in, Out* out, int64_t count, int64_t step) {
  if (step == 1) return copy_run<T, Out, T>(in, out, count, nullptr);
  for (int64_t i = 0; i < count; ++i) from_compute(out + i * step, in[i]);
}

// out[i] = in[i * step]; touches nothing beyond the last of them.
template <class S>
void load_run(const S* in, Compute<S>* out, int64_t count, int64_t step) {
  using V = Simd<Compute<S>>;
  constexpr int64_t kLanes = V::kLanes;
  if (step == 1) return copy_run<S, Compute<S>, Compute<S>>(in, out, count, nullptr);
  int64_t i = 0;
  for (; step == 2 && i + kLanes < count; i += kLanes) {
    auto even = V::load(in + 2 * i), odd = V::load(in + 2 * i + kLanes);
    V::deinterleave(even, odd);
    V::store(out + i, even);
  }
  for (; i < count; ++i) out[i] = to_compute(in[i * step]);
}

// Part of one channel's row, every step-th element from x on, `count` of them, zeros outside the
// row.
struct RowWindow {
  int64_t x, step, count;
  int64_t first, last;  // of the count, those inside the row

  RowWindow(int64_t x, int64_t step, int64_t count, int64_t width)
      : x(x), step(step), count(count) {
    first = x < 0 ? smaller(count, ceil_div(-x, step)) : 0;
    last = larger(first, x < width ? smaller(count, ceil_div(width - x, step)) : 0);
  }
};

// Rows of one channel of the contiguous layout, from coordinate y on, every `skip`-th, to out + row
// * pitch. Writes in order of the addresses and may write zeros up to a vector beyond the end.
template <class S>
void load_plane(const Image<S>& image, int64_t channel, int64_t y, int64_t rows, int64_t skip,
                const RowWindow& w, Compute<S>* out, int64_t pitch) {
  using V = Simd<Compute<S>>;
  constexpr int64_t kLanes = V::kLanes, kLine = 64 / (int64_t)sizeof(S);
  const int64_t count = w.last - w.first, ahead = 2 * image.height * image.width;
  const S* from = image.data + (channel * image.height + y) * image.width + w.x + w.first * w.step;
  zero_run(out, w.first);
  // A row ends with the zeros that begin the next one.
  out += w.first;
  for (int64_t i = 0; i < rows; ++i, y += skip, from += skip * image.width, out += pitch) {
    int64_t x = 0;
    if (y >= 0 && y < image.height) {
      // Planes are far apart: no hardware prefetcher sees the next one coming.
      for (int64_t at = 0; at < count * w.step; at += kLine) __builtin_prefetch(from + ahead + at);
      if (w.step > 1) {
        load_run(from, out, count, w.step);
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

// One row of `channels` neighbouring channels of the channels-last layout, channel c to out + c *
// pitch.
template <class S>
void load_plane_row(const Image<S>& image, int64_t channel, int64_t channels, int64_t y,
                    const RowWindow& w, Compute<S>* out, int64_t pitch) {
  using T = Compute<S>;
  const bool inside = y >= 0 && y < image.height && w.first < w.last;
  const int64_t first = inside ? w.first : w.count, last = inside ? w.last : w.count;
  for (int64_t c = 0; c < channels; ++c) {
    zero_run(out + c * pitch, first);
    zero_run(out + c * pitch + last, w.count - last);
  }
  if (!inside) return;
  const int64_t at = (y * image.width + w.x + w.first * w.step) * image.channels + channel;
  transpose_copy<S, T, T>(image.data + at, w.step * image.channels, last - first, channels,
                          out + first, pitch, nullptr);
}

// Depthwise with pixels in the lanes and a small kernel: a strip of a few vectors slides down a
// whole plane. It holds one sum per tap row and vector; a source row adds to all of them, the
// oldest is complete and leaves, the others move up. Each source vector is loaded once per tap
// column and nothing is computed twice. Reads a padded patch, or the source in place, where lanes
// outside of a row are left out of the loads.
#pragma once

#include "cpu/depthwise/plan.h"
#include "cpu/depthwise/tile.h"

namespace torchconv::cpu {
namespace {

template <class T, bool kInPlace, int kTaps, int kVecs>
[[gnu::noinline]] void depthwise_strip(const DepthwiseTile<T>& t, int64_t rows,
                                       const typename Simd<T>::Mask* inside) {
  using V = Simd<T>;
  constexpr int64_t kLanes = V::kLanes;
  typename V::Vec sum[kTaps][kVecs];
  zero_tile<T>(sum);
  const int64_t taps = t.tap_end, x_column = t.x_column;
  const bool whole = t.count >= kVecs * kLanes;
  const auto bias = t.bias ? without_sign_of_zero<V>(V::broadcast(*t.bias)) : V::zero();
  const T* x = t.x + t.begin * t.x_tap;
  T* out = t.out;
  // Source row y is tap row m of destination row y - m.
  for (int64_t y = 0; y < rows + kTaps - 1; ++y) {
    if (y >= t.begin && y < t.end) {
      const T *at = x, *w = t.w;
      for (int64_t s = 0; s < taps; ++s, at += x_column, ++w) {
        typename V::Vec v[kVecs];
#pragma GCC unroll 8
        for (int i = 0; i < kVecs; ++i) {
          v[i] = kInPlace ? V::load_masked(at + i * kLanes, inside[s * kVecs + i])
                          : V::held(V::load(at + i * kLanes));
        }
#pragma GCC unroll 8
        for (int m = 0; m < kTaps; ++m) {
          const auto weight = V::broadcast(w[m * kStripPitch]);
#pragma GCC unroll 8
          for (int i = 0; i < kVecs; ++i) sum[m][i] = V::fma(weight, v[i], sum[m][i]);
        }
      }
      x += t.x_tap;
    }
    if (y >= kTaps - 1) {
#pragma GCC unroll 8
      for (int i = 0; i < kVecs; ++i) {
        const auto v = V::add(sum[kTaps - 1][i], bias);
        if (whole || i < kVecs - 1) {
          V::store(out + i * kLanes, v);
        } else {
          V::store_first(out + i * kLanes, v, t.count - i * kLanes);
        }
      }
      out += t.out_row;
    }
#pragma GCC unroll 8
    for (int i = 0; i < kVecs; ++i) {
#pragma GCC unroll 8
      for (int m = kTaps - 1; m > 0; --m) sum[m][i] = sum[m - 1][i];
      sum[0][i] = V::zero();
    }
  }
}

// Sums, a source vector each, and a weight must fit the registers.
template <class T, int kTaps>
constexpr int kStripVecs =
    kDepthwiseVecs<T> * (kTaps + 1) + 1 <= Simd<T>::kRegisters ? kDepthwiseVecs<T>
    : kDepthwiseVecs<T> > 2                                    ? 2
                                                               : 1;

template <class T>
using DepthwiseStrip = void (*)(const DepthwiseTile<T>&, int64_t, const typename Simd<T>::Mask*);

template <class T, bool kInPlace, int kTaps>
DepthwiseStrip<T> strip_of_vecs(int64_t vecs) {
  return dispatch_int<1, kStripVecs<T, kTaps>>(vecs, [](auto count) -> DepthwiseStrip<T> {
    return depthwise_strip<T, kInPlace, kTaps, count.value>;
  });
}

// One strip of a plane after the other; from plane to plane only these pointers change.
template <class T, bool kInPlace, int kTaps, class Planes>
void run_strips_of_taps(DepthwiseTile<T> t, int64_t rows, int64_t column, int64_t width,
                        Planes& planes) {
  using V = Simd<T>;
  constexpr int kMost = kStripVecs<T, kTaps>;
  const int64_t count = t.count, vecs = ceil_div(count, V::kLanes), strips = ceil_div(vecs, kMost);
  for (int64_t i = 0; i < strips; ++i) {
    const int64_t v = i * vecs / strips, n = (i + 1) * vecs / strips - v, first = v * V::kLanes;
    // Lanes of the vectors [tap][n] that lie in the row; t's first vector begins at `column`.
    typename V::Mask inside[kStripPitch * kMost];
    bool whole = true;
    for (int64_t l = 0; kInPlace && l < t.tap_end * n; ++l) {
      const int64_t at = column + first + l / n * t.x_column + l % n * V::kLanes;
      whole = whole && at >= 0 && at + V::kLanes <= width;
      inside[l] =
          V::lanes(larger(0, smaller(V::kLanes, -at)), larger(0, smaller(V::kLanes, width - at)));
    }
    const DepthwiseStrip<T> strip =
        whole ? strip_of_vecs<T, false, kTaps>(n) : strip_of_vecs<T, kInPlace, kTaps>(n);
    for (int64_t plane = 0; plane < planes.count; ++plane) {
      planes(t, plane);
      t.x += first, t.out += first, t.count = count - first;
      strip(t, rows, inside);
    }
  }
}

template <class T, bool kInPlace, class Planes>
void run_depthwise_strips(const DepthwiseTile<T>& t, int64_t rows, int64_t column, int64_t width,
                          Planes& planes) {
  dispatch_int<1, kStripRows>(t.taps, [&](auto taps) {
    run_strips_of_taps<T, kInPlace, taps.value>(t, rows, column, width, planes);
  });
}

}  // namespace
}  // namespace torchconv::cpu

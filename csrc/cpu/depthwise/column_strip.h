// Depthwise with pixels in the lanes and a small kernel: a strip of a few vectors slides down a
// whole plane. It holds one sum per tap row and vector; a source row adds to all of them, the
// oldest is complete and leaves, the others move up. Each source vector is loaded once per tap
// column and nothing is computed twice. Reads a padded patch, or the source in place, where lanes
// outside of a row are left out of the loads or are elements of the row that padding repeats.
#pragma once

#include "cpu/depthwise/plan.h"
#include "cpu/depthwise/tile.h"

namespace torchconv::cpu {
namespace {

// What is beside a row of the source: the patch has it, zeros, or what padding repeats. That is so close to the
// elements beside it that they are loaded together and permuted, or it is at the other end of the row.
enum class StripEdges { kNone, kZeros, kNear, kOtherEnd };

constexpr bool repeats(StripEdges edges) {
  return edges == StripEdges::kNear || edges == StripEdges::kOtherEnd;
}

// Vectors are permuted.
template <class T>
constexpr bool kRepeats = sizeof(T) == sizeof(float);

template <StripEdges>
struct StripRow {
  int64_t column, width;  // of the first vector, and of the source; outside is padding
  Margins margins;
};

// Of a vector whose first lane is element `at` of a row.
template <class V>
typename V::Mask lanes_inside(int64_t at, int64_t width) {
  constexpr int64_t kLanes = V::kLanes;
  return V::lanes(larger(0, smaller(kLanes, -at)), larger(0, smaller(kLanes, width - at)));
}

// The lanes of a vector that lie in the row.
template <class T, StripEdges kEdges>
struct StripLanes {
  using V = Simd<T>;
  typename V::Mask inside;

  StripLanes() = default;
  StripLanes(const StripRow<kEdges>& row, int64_t at) : inside(lanes_inside<V>(at, row.width)) {}
  typename V::Vec load(const T* x) const { return V::load_masked(x, inside); }
};

// And of padding. Lanes beyond it are not stored.
template <class T>
struct StripLanes<T, StripEdges::kNear> {
  using V = Simd<T>;
  static constexpr int64_t kLanes = V::kLanes;
  alignas(64) int32_t lanes[kLanes] = {};
  int64_t near;
  typename V::Mask inside, loaded;

  StripLanes() = default;
  StripLanes(const StripRow<StripEdges::kNear>& row, int64_t at) {
    int64_t low = row.width, high = -1;
    const auto each = [&](const auto& f) {
      for (int64_t l = 0; l < kLanes; ++l) {
        const int64_t element = row.margins.column(at + l, row.width);
        if (element >= 0) f(l, element);
      }
    };
    each([&](int64_t, int64_t element) {
      low = smaller(low, element), high = larger(high, element);
    });
    each([&](int64_t l, int64_t element) { lanes[l] = (int32_t)(element - low); });
    near = low - at, loaded = V::lanes(0, larger(0, high - low + 1));
    inside = lanes_inside<V>(at, row.width);
  }
  typename V::Vec load(const T* x) const {
    return V::permute(V::load_masked(x + near, loaded), lanes);
  }
};

template <class T>
struct StripLanes<T, StripEdges::kOtherEnd> {
  using V = Simd<T>;
  static constexpr int64_t kLanes = V::kLanes;
  int64_t far;
  typename V::Mask inside, outside;

  StripLanes() = default;
  StripLanes(const StripRow<StripEdges::kOtherEnd>& row, int64_t at) {
    const auto lane = [&](int64_t column) { return larger(0, smaller(kLanes, column - at)); };
    inside = lanes_inside<V>(at, row.width);
    outside = at < 0 ? V::lanes(lane(-row.margins.left), lane(0))
                     : V::lanes(lane(row.width), lane(row.width + row.margins.right));
    far = at < 0 ? row.width : -row.width;
  }
  // A zero that is added takes no more than the sign of a zero, which no sum keeps.
  typename V::Vec load(const T* x) const {
    return V::add(V::load_masked(x, inside), V::load_masked(x + far, outside));
  }
};

// Which taps of a row see padding on its left, the first ones, and on its right. Where that may be another vector of
// a strip than the first or the last, or both are one tap's, all are taken to see both.
struct StripTaps {
  int64_t inner_begin, inner_end;
  bool apart;

  StripTaps() = default;
  // Of a strip of so many columns, from `left` on, of a row of so many vectors that padding_is_outside holds or not.
  template <class T>
  StripTaps(const DepthwiseTile<T>& t, int64_t left, int64_t columns, int64_t width, bool outside) {
    const int64_t room = width - left - columns;  // taps to the right
    inner_begin = smaller(t.tap_end, left < 0 ? ceil_div(-left, t.x_column) : 0);
    inner_end = room < 0 ? 0 : smaller(t.tap_end, room / t.x_column + 1);
    apart = outside && inner_begin <= inner_end;
  }
};

// Whether that holds for a row of so many vectors.
template <class T>
bool padding_is_outside(const DepthwiseTile<T>& t, int64_t column, int64_t width, int64_t vecs) {
  constexpr int64_t kLanes = Simd<T>::kLanes;
  return column + kLanes >= 0 &&
         column + (vecs - 1) * kLanes + (t.tap_end - 1) * t.x_column <= width;
}

// Some taps of a source row, for the destination rows of which it is a tap row in [kFrom, kTo]. Padding that repeats
// elements is seen by the first vector and by the last.
template <class T, StripEdges kEdges, bool kFirst, bool kLast, int kFrom, int kTo, int kTaps,
          int kVecs>
[[gnu::always_inline]] inline void strip_taps(const T* row, int64_t x_column, const T* w,
                                              int64_t from, int64_t to,
                                              const StripLanes<T, kEdges>* lanes,
                                              typename Simd<T>::Vec (&sum)[kTaps][kVecs]) {
  using V = Simd<T>;
  const T* at = row + from * x_column;
  w += from;
  for (int64_t s = from; s < to; ++s, at += x_column, ++w) {
    typename V::Vec v[kVecs];
#pragma GCC unroll 8
    for (int i = 0; i < kVecs; ++i) {
      const T* const x = at + i * V::kLanes;
      const bool first = i == 0, last = i == kVecs - 1;
      if (kEdges == StripEdges::kZeros || (kFirst && first) || (kLast && last)) {
        v[i] = lanes[s * kVecs + i].load(x);
      } else if (repeats(kEdges) && last) {
        v[i] = V::load_masked(x, lanes[s * kVecs + i].inside);
      } else {
        v[i] = V::held(V::load(x));
      }
    }
#pragma GCC unroll 8
    for (int m = kFrom; m <= kTo; ++m) {
      const auto weight = V::broadcast(w[m * kStripPitch]);
#pragma GCC unroll 8
      for (int i = 0; i < kVecs; ++i) sum[m][i] = V::fma(weight, v[i], sum[m][i]);
    }
  }
}

// All taps of a source row where padding repeats elements.
template <class T, StripEdges kEdges, int kTaps, int kVecs>
[[gnu::always_inline]] inline void strip_repeating_row(const T* row, int64_t x_column, const T* w,
                                                       int64_t all, int64_t y, int64_t rows,
                                                       const StripTaps& taps,
                                                       const StripLanes<T, kEdges>* lanes,
                                                       typename Simd<T>::Vec (&sum)[kTaps][kVecs]) {
  // Rows of padding are tap rows of few destination rows.
  constexpr int kFew = kTaps / 2;
  if (y < kFew) {
    strip_taps<T, kEdges, true, true, 0, kFew - 1>(row, x_column, w, 0, all, lanes, sum);
  } else if (y >= rows + kTaps - 1 - kFew) {
    strip_taps<T, kEdges, true, true, kTaps - kFew, kTaps - 1>(row, x_column, w, 0, all, lanes,
                                                               sum);
  } else if (kVecs > 1 && taps.apart) {
    const int64_t begin = taps.inner_begin, end = taps.inner_end;
    strip_taps<T, kEdges, true, false, 0, kTaps - 1>(row, x_column, w, 0, begin, lanes, sum);
    strip_taps<T, kEdges, false, false, 0, kTaps - 1>(row, x_column, w, begin, end, lanes, sum);
    strip_taps<T, kEdges, false, true, 0, kTaps - 1>(row, x_column, w, end, all, lanes, sum);
  } else {
    strip_taps<T, kEdges, true, true, 0, kTaps - 1>(row, x_column, w, 0, all, lanes, sum);
  }
}

template <class T, StripEdges kEdges, int kTaps, int kVecs>
[[gnu::noinline]] void depthwise_strip(const DepthwiseTile<T>& t, int64_t rows,
                                       const StripLanes<T, kEdges>* lanes, const StripTaps& taps) {
  using V = Simd<T>;
  constexpr int64_t kLanes = V::kLanes;
  typename V::Vec sum[kTaps][kVecs];
  zero_tile<T>(sum);
  const int64_t all = t.tap_end, x_column = t.x_column;
  const bool whole = t.count >= kVecs * kLanes;
  const auto bias = t.bias ? without_sign_of_zero<V>(V::broadcast(*t.bias)) : V::zero();
  const T* x = t.x + t.begin * t.x_tap;
  T* out = t.out;
  // Source row y is tap row m of destination row y - m.
  for (int64_t y = 0; y < rows + kTaps - 1; ++y) {
    if constexpr (repeats(kEdges)) {
      strip_repeating_row(t.x + t.repeated[y], x_column, t.w, all, y, rows, taps, lanes, sum);
    } else if (y >= t.begin && y < t.end) {
      strip_taps<T, kEdges, false, false, 0, kTaps - 1>(x, x_column, t.w, 0, all, lanes, sum);
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

template <class T, StripEdges kEdges>
using DepthwiseStrip = void (*)(const DepthwiseTile<T>&, int64_t, const StripLanes<T, kEdges>*,
                                const StripTaps&);

template <class T, StripEdges kEdges, int kTaps>
DepthwiseStrip<T, kEdges> strip_of_vecs(int64_t vecs) {
  return dispatch_int<1, kStripVecs<T, kTaps>>(vecs, [](auto count) -> DepthwiseStrip<T, kEdges> {
    return depthwise_strip<T, kEdges, kTaps, count.value>;
  });
}

// One strip of a plane after the other; from plane to plane only these pointers change.
template <class T, int kTaps, StripEdges kEdges, class Planes>
void run_strips_of_taps(DepthwiseTile<T> t, int64_t rows, const StripRow<kEdges>& row,
                        Planes& planes) {
  using V = Simd<T>;
  constexpr int kMost = kStripVecs<T, kTaps>;
  const int64_t count = t.count, vecs = ceil_div(count, V::kLanes);
  const bool wide = !repeats(kEdges) || padding_is_outside(t, row.column, row.width, vecs);
  const int64_t strips = ceil_div(vecs, wide ? kMost : smaller(kMost, 2));
  for (int64_t i = 0; i < strips; ++i) {
    const int64_t v = i * vecs / strips, n = (i + 1) * vecs / strips - v, first = v * V::kLanes;
    StripLanes<T, kEdges> lanes[kStripPitch * kMost];  // [tap][n]
    bool whole = !repeats(kEdges);
    for (int64_t l = 0; kEdges != StripEdges::kNone && l < t.tap_end * n; ++l) {
      const int64_t at = row.column + first + l / n * t.x_column + l % n * V::kLanes;
      whole = whole && at >= 0 && at + V::kLanes <= row.width;
      lanes[l] = {row, at};
    }
    const int64_t stored = smaller(n * V::kLanes, count - first);
    const StripTaps taps =
        repeats(kEdges) ? StripTaps(t, row.column + first, stored, row.width, wide) : StripTaps();
    const auto run = [&](auto strip, const auto* of_strip) {
      for (int64_t plane = 0; plane < planes.count; ++plane) {
        if (repeats(kEdges) && plane + 1 < planes.count) {
          // Padding may repeat what no prefetcher expects to be read first.
          const T* const next = planes.source(plane + 1) + t.repeated[0];
          for (int64_t j = 0; j < row.width; j += 64 / (int64_t)sizeof(T))
            __builtin_prefetch(next + j);
        }
        planes(t, plane);
        t.x += first, t.out += first, t.count = count - first;
        strip(t, rows, of_strip, taps);
      }
    };
    if (whole) {
      const StripLanes<T, StripEdges::kNone>* const none = nullptr;
      run(strip_of_vecs<T, StripEdges::kNone, kTaps>(n), none);
    } else {
      run(strip_of_vecs<T, kEdges, kTaps>(n), lanes);
    }
  }
}

template <class T, StripEdges kEdges, class Planes>
void run_depthwise_strips(const DepthwiseTile<T>& t, int64_t rows, const StripRow<kEdges>& row,
                          Planes& planes) {
  dispatch_int<1, kStripRows>(
      t.taps, [&](auto taps) { run_strips_of_taps<T, taps.value>(t, rows, row, planes); });
}

}  // namespace
}  // namespace torchconv::cpu

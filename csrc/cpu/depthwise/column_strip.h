// Depthwise with pixels in the lanes and a small kernel: a strip of a few vectors slides down a
// whole plane. It holds one sum per tap row and vector; a source row adds to all of them, the
// oldest is complete and leaves, the others move up. Each source vector is loaded once per tap
// column and nothing is computed twice. Reads a padded patch, or the source in place, where lanes
// outside of a row are left out of the loads or are elements of the row that padding repeats. The first
// strip of a plane meets its cache lines for all of them: it asks for them some rows ahead where the
// caches do not hold source and result.
#pragma once

#include "cpu/common/beyond_caches.h"
#include "cpu/depthwise/strip_edges.h"

namespace torchconv::cpu {
namespace {

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
  typename V::Vec whole;
  if constexpr (kEdges == StripEdges::kOneVector)
    whole = V::held(V::load_masked(row + lanes->start, lanes->row));
  for (int64_t s = from; s < to; ++s, at += x_column, ++w) {
    typename V::Vec v[kVecs];
#pragma GCC unroll 8
    for (int i = 0; i < kVecs; ++i) {
      const T* const x = at + i * V::kLanes;
      const bool first = repeats(kEdges) && i == 0, last = repeats(kEdges) && i == kVecs - 1;
      if constexpr (kEdges == StripEdges::kOneVector) {
        v[i] = V::permute(whole, lanes[s].lanes);
      } else if (kEdges == StripEdges::kZeros || (kFirst && first) || (kLast && last)) {
        v[i] = lanes[s * kVecs + i].load(x);
      } else if (last) {
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
  } else if (kEdges != StripEdges::kRows && (kVecs > 1 || kTaps <= 3) && taps.apart) {
    const auto run = [&](int64_t begin, int64_t end, int64_t all) __attribute__((always_inline)) {
      strip_taps<T, kEdges, true, false, 0, kTaps - 1>(row, x_column, w, 0, begin, lanes, sum);
      strip_taps<T, kEdges, false, false, 0, kTaps - 1>(row, x_column, w, begin, end, lanes, sum);
      strip_taps<T, kEdges, false, true, 0, kTaps - 1>(row, x_column, w, end, all, lanes, sum);
    };
    if (kTaps == 3 && all == 3 && taps.inner_begin == 1 && taps.inner_end == 2) {
      run(1, 2, 3);  // of most networks, without loops
    } else {
      run(taps.inner_begin, taps.inner_end, all);
    }
  } else {
    strip_taps<T, kEdges, true, true, 0, kTaps - 1>(row, x_column, w, 0, all, lanes, sum);
  }
}

// The cache lines of all columns of a source row and of a destination row, some rows beyond row y of either: of this
// plane, or of the next one, which may lie before it where strips slide upwards.
template <class T>
[[gnu::always_inline]] inline void fetch_rows(const DepthwiseTile<T>& t, int64_t y, int64_t rows) {
  const int64_t row = y + smaller(cost::kStripRowsAhead, rows);
  const bool next = row >= rows;
  const T* const x = t.x + (next ? t.x_plane - rows * t.x_tap : 0);
  const T* const out = t.out + (next ? t.out_plane - rows * t.out_row : 0);
  prefetch_lines<false>(x + row * t.x_tap, larger(t.x_tap, -t.x_tap));
  if (!t.past_caches) prefetch_lines<true>(out + row * t.out_row, larger(t.out_row, -t.out_row));
}

template <class T, StripEdges kEdges, int kTaps, int kVecs>
[[gnu::noinline]] void depthwise_strip(const DepthwiseTile<T>& t, int64_t rows,
                                       const StripLanes<T, kEdges>* lanes, const StripTaps& taps) {
  using V = Simd<T>;
  constexpr int64_t kLanes = V::kLanes;
  constexpr bool kLines = kVecs * kLanes % kLaneBlock<T> == 0;
  typename V::Vec sum[kTaps][kVecs];
  zero_tile<T>(sum);
  const int64_t all = t.tap_end, x_column = t.x_column;
  const bool whole = t.count >= kVecs * kLanes;
  const auto bias = t.bias ? without_sign_of_zero<V>(V::broadcast(*t.bias)) : V::zero();
  const T* x = t.x + t.begin * t.x_tap;
  T* out = t.out;
  // Source row y is tap row m of destination row y - m.
  for (int64_t y = 0; y < rows + kTaps - 1; ++y) {
    if (t.fetches && y < rows) fetch_rows(t, y, rows);
    if constexpr (repeats_rows(kEdges)) {
      strip_repeating_row(t.x + t.repeated[y], x_column, t.w, all, y, rows, taps, lanes, sum);
    } else if (y >= t.begin && y < t.end) {
      strip_taps<T, kEdges, false, false, 0, kTaps - 1>(x, x_column, t.w, 0, all, lanes, sum);
      x += t.x_tap;
    }
    if (y >= kTaps - 1) {
#pragma GCC unroll 8
      for (int i = 0; i < kVecs; ++i) {
        const auto v = V::add(sum[kTaps - 1][i], bias);
        if (kLines && t.past_caches) {
          V::stream(out + i * kLanes, v);
        } else if (whole || i < kVecs - 1) {
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
  constexpr int kMost = kEdges == StripEdges::kOneVector ? 1 : kStripVecs<T, kTaps>;
  return dispatch_int<1, kMost>(vecs, [](auto count) -> DepthwiseStrip<T, kEdges> {
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
  // Of planes that are one strip downwards, hardware prefetchers see every line coming.
  const bool fetches = t.fetches && (strips > 1 || t.x_tap < 0);
  for (int64_t i = 0; i < strips; ++i) {
    const int64_t v = i * vecs / strips, n = (i + 1) * vecs / strips - v, first = v * V::kLanes;
    StripLanes<T, kEdges> lanes[kStripPitch * kMost];  // [tap][n]
    bool whole = kEdges != StripEdges::kOneVector;
    for (int64_t l = 0; kEdges != StripEdges::kNone && l < t.tap_end * n; ++l) {
      const int64_t at = row.column + first + l / n * t.x_column + l % n * V::kLanes;
      whole = whole && at >= 0 && at + V::kLanes <= row.width;
      lanes[l] = {row, at};
    }
    const int64_t stored = smaller(n * V::kLanes, count - first);
    const StripTaps taps =
        repeats(kEdges) ? StripTaps(t, row.column + first, stored, row.width, wide) : StripTaps();
    constexpr StripEdges kWhole = repeats(kEdges) ? StripEdges::kRows : StripEdges::kNone;
    const bool past_caches = t.past_caches && first % kLaneBlock<T> == 0;
    const auto run = [&](auto strip, const auto* of_strip) {
      for (int64_t plane = 0; plane < planes.count; ++plane) {
        planes(t, plane);
        t.x += first, t.out += first, t.count = count - first, t.fetches = fetches && i == 0;
        t.past_caches = past_caches;
        strip(t, rows, of_strip, taps);
      }
    };
    if (whole) {
      const StripLanes<T, kWhole>* const none = nullptr;
      run(strip_of_vecs<T, kWhole, kTaps>(n), none);
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

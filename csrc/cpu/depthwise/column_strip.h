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

// What is beside a row of the source: the patch has it, zeros, or what padding repeats.
enum class StripEdges { kNone, kZeros, kRepeated };

// Vectors are permuted.
template <class T>
constexpr bool kRepeats = sizeof(T) == sizeof(float);

template <StripEdges>
struct StripRow {
  int64_t column, width;  // of the first vector, and of the source; outside is padding
  Margins margins;
};

// The lanes of a vector that lie in the row.
template <class T, StripEdges kEdges>
struct StripLanes {
  typename Simd<T>::Mask inside;

  StripLanes() = default;
  StripLanes(const StripRow<kEdges>& row, int64_t at) {
    constexpr int64_t kLanes = Simd<T>::kLanes;
    inside =
        Simd<T>::lanes(larger(0, smaller(kLanes, -at)), larger(0, smaller(kLanes, row.width - at)));
  }
  typename Simd<T>::Vec load(const T* x) const { return Simd<T>::load_masked(x, inside); }
};

// And of padding, which repeats elements of the row: those of all lanes are so close to each other that
// they are loaded together and permuted, or the outer lanes are neighbours elsewhere, at the other end of
// the row.
template <class T>
struct StripLanes<T, StripEdges::kRepeated> {
  using V = Simd<T>;
  static constexpr int64_t kLanes = V::kLanes;
  alignas(64) int32_t lanes[kLanes];
  enum class From { kHere, kPermuted, kTwoEnds } from;
  typename V::Mask inside, outside;
  int64_t near, far;

  StripLanes() = default;
  StripLanes(const StripRow<StripEdges::kRepeated>& row, int64_t at) : from(From::kHere) {
    const int64_t begin = larger(0, smaller(kLanes, -at)),
                  end = larger(0, smaller(kLanes, row.width - at));
    inside = V::lanes(begin, end);
    // Lanes beyond the padding are not stored.
    const int64_t first = larger(0, -row.margins.left - at),
                  last = smaller(kLanes, row.width + row.margins.right - at);
    if (begin <= first && end >= last) return;
    int64_t low = row.width, high = -1, element[kLanes];
    for (int64_t l = first; l < last; ++l) {
      element[l] = row.margins.column(at + l, row.width);
      low = smaller(low, element[l]), high = larger(high, element[l]);
    }
    if (high - low < kLanes) {
      from = From::kPermuted, near = low - at, inside = V::lanes(0, larger(0, high - low + 1));
      for (int64_t l = 0; l < kLanes; ++l) {
        lanes[l] = l >= first && l < last ? (int32_t)(element[l] - low) : 0;
      }
      return;
    }
    from = From::kTwoEnds, far = at < 0 ? row.width : -row.width;
    outside = at < 0 ? V::lanes(first, begin) : V::lanes(end, last);
  }

  // A zero that is added takes no more than the sign of a zero, which no sum keeps.
  typename V::Vec load(const T* x) const {
    if (from == From::kPermuted) return V::permute(V::load_masked(x + near, inside), lanes);
    const auto loaded = V::load_masked(x, inside);
    return from == From::kHere ? loaded : V::add(loaded, V::load_masked(x + far, outside));
  }
};

// Vectors of a strip that see padding where it repeats elements: the first one and the last.
template <StripEdges kEdges, int kVecs>
constexpr bool at_edge(int vec) {
  return kEdges == StripEdges::kZeros ||
         (kEdges == StripEdges::kRepeated && (vec == 0 || vec == kVecs - 1));
}

// Whether that holds for a row of so many vectors.
template <class T>
bool padding_is_outside(const DepthwiseTile<T>& t, int64_t column, int64_t width, int64_t vecs) {
  constexpr int64_t kLanes = Simd<T>::kLanes;
  return column + kLanes >= 0 &&
         column + (vecs - 1) * kLanes + (t.tap_end - 1) * t.x_column <= width;
}

template <class T, StripEdges kEdges, int kTaps, int kVecs>
[[gnu::noinline]] void depthwise_strip(const DepthwiseTile<T>& t, int64_t rows,
                                       const StripLanes<T, kEdges>* lanes) {
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
      const T *at = kEdges == StripEdges::kRepeated ? t.x + t.repeated[y] : x, *w = t.w;
      for (int64_t s = 0; s < taps; ++s, at += x_column, ++w) {
        typename V::Vec v[kVecs];
#pragma GCC unroll 8
        for (int i = 0; i < kVecs; ++i) {
          v[i] = at_edge<kEdges, kVecs>(i) ? lanes[s * kVecs + i].load(at + i * kLanes)
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

template <class T, StripEdges kEdges>
using DepthwiseStrip = void (*)(const DepthwiseTile<T>&, int64_t, const StripLanes<T, kEdges>*);

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
  const bool wide =
      kEdges != StripEdges::kRepeated || padding_is_outside(t, row.column, row.width, vecs);
  const int64_t strips = ceil_div(vecs, wide ? kMost : smaller(kMost, 2));
  for (int64_t i = 0; i < strips; ++i) {
    const int64_t v = i * vecs / strips, n = (i + 1) * vecs / strips - v, first = v * V::kLanes;
    StripLanes<T, kEdges> lanes[kStripPitch * kMost];  // [tap][n]
    bool whole = kEdges != StripEdges::kRepeated;
    for (int64_t l = 0; kEdges != StripEdges::kNone && l < t.tap_end * n; ++l) {
      const int64_t at = row.column + first + l / n * t.x_column + l % n * V::kLanes;
      whole = whole && at >= 0 && at + V::kLanes <= row.width;
      lanes[l] = {row, at};
    }
    const auto run = [&](auto strip, const auto* of_strip) {
      for (int64_t plane = 0; plane < planes.count; ++plane) {
        planes(t, plane);
        t.x += first, t.out += first, t.count = count - first;
        strip(t, rows, of_strip);
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

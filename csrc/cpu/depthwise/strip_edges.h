// What a strip (column_strip.h) sees beside the rows of its source, and how it loads vectors that reach there.
#pragma once

#include "cpu/depthwise/plan.h"
#include "cpu/depthwise/tile.h"

namespace torchconv::cpu {
namespace {

// What is beside a row of the source: the patch has it, zeros, or what padding repeats. That is so close to the
// elements beside it that they are loaded together and permuted, or it is at the other end of the row. A row that
// is one vector is loaded once, and permuted for each tap. kRows: nothing beside the row, but rows that padding
// repeats, as strips in the middle of a plane see.
enum class StripEdges { kNone, kRows, kZeros, kNear, kOtherEnd, kOneVector };

constexpr bool repeats(StripEdges edges) {
  return edges == StripEdges::kNear || edges == StripEdges::kOtherEnd ||
         edges == StripEdges::kOneVector;
}
constexpr bool repeats_rows(StripEdges edges) {
  return repeats(edges) || edges == StripEdges::kRows;
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

// Of a row that begins `start` elements from where the tap 0 of its first column is.
template <class T>
struct StripLanes<T, StripEdges::kOneVector> {
  using V = Simd<T>;
  alignas(64) int32_t lanes[V::kLanes] = {};
  int64_t start;
  typename V::Mask row;

  StripLanes() = default;
  StripLanes(const StripRow<StripEdges::kOneVector>& of, int64_t at)
      : start(-of.column), row(V::lanes(0, of.width)) {
    for (int64_t l = 0; l < V::kLanes; ++l)
      lanes[l] = (int32_t)larger(0, of.margins.column(at + l, of.width));
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

}  // namespace
}  // namespace torchconv::cpu

// The sizes of Winograd's algorithms. No torch, no SIMD.
#pragma once

#include <cstdint>

namespace torchconv::cpu {

// F(m, r) along one axis, in any direction: tiles of m destinations and a kernel of r taps, at kSide source
// pixels and as many points. F(1, 1) has one of each.
template <int m, int r>
struct Along {
  static constexpr int kTile = m, kTaps = r, kStride = 1, kSide = m + r - 1, kPoints = kSide;
  static constexpr int kWeights = kPoints;  // values of the kernel
  // Coordinates of the source from one tile to the next, and those that a tile spans.
  static constexpr int kAdvance = kTile, kReach = kSide;
  // Where the source pixels and the destinations of a tile are. `odd`: so is the padding.
  static constexpr int64_t pixel(int64_t index, bool) { return index; }
  static constexpr bool kInOrder = true;
  static constexpr int64_t destination(int64_t index, bool) { return index; }
  // With which value of the kernel a point is multiplied.
  static constexpr int weight(int point) { return point; }
};

// A kernel with a stride of two sees pixels of two kinds, with every other tap each: those of two taps are a kernel
// without stride, F(4, 2) with five points. Of three taps the middle one sees the pixels between, one for each of
// four destinations: four more points, with the tap as the weight of them all. Four taps are two kernels of two.
template <int taps>
struct Strided {
  static_assert(taps == 3 || taps == 4);
  static constexpr int kTaps = taps, kStride = 2, kSide = 6 + taps, kPoints = kSide;
  static constexpr int kWeights = taps == 3 ? 6 : 10;
  static constexpr int weight(int point) { return point < kWeights ? point : kWeights - 1; }
};

// Forward and weight gradient.
template <int taps>
struct StridedForward : Strided<taps> {
  static constexpr int kTile = 4, kAdvance = 8, kReach = 6 + taps;
  static constexpr int64_t pixel(int64_t index, bool) {
    return index < 5 ? 2 * index : 2 * (index - 5) + 1;
  }
  static constexpr bool kInOrder = true;
  static constexpr int64_t destination(int64_t index, bool) { return index; }
};

// Input gradient: each kind of destinations sees all of the source. Those of the first and the third tap come first;
// they are the even ones where the padding is, of three taps, and where it is odd, of four.
template <int taps>
struct StridedGradInput : Strided<taps> {
  static constexpr int kTile = 8, kAdvance = 4, kReach = 2 + taps;
  static constexpr int64_t pixel(int64_t index, bool odd) {
    if (index < 5) return index;
    return taps == 3 ? index - 4 - odd : index - 5 + odd;
  }
  static constexpr bool kInOrder = false;
  static constexpr int64_t destination(int64_t index, bool odd) {
    const bool late = taps == 3 ? odd : !odd;  // the first kind is
    return index < 4 ? 2 * index + late : 2 * (index - 4) + 1 - late;
  }
};

// Input gradient the other way round: a tile of m elements of grad spreads over the kSpread destinations that see it,
// of which its neighbours reach some, too. The numbers of the kernel are those of F(m, r).
template <int m, int r>
struct Spread : Along<m, r> {
  static constexpr int kSide = m, kReach = m;
  static constexpr int kSpread = m + r - 1, kShared = r - 1;
};

// The same as numbers.
struct AxisSizes {
  int tile, taps, points, weights, advance, reach;
};
template <class A>
constexpr AxisSizes sizes_of() {
  return {A::kTile, A::kTaps, A::kPoints, A::kWeights, A::kAdvance, A::kReach};
}

// A nested algorithm: one along the columns of an image, the other along its rows.
template <class DownAxis, class AcrossAxis>
struct Filtering {
  using Down = DownAxis;
  using Across = AcrossAxis;
  static constexpr int kPoints = Down::kPoints * Across::kPoints;
  static constexpr AxisSizes kDown = sizes_of<Down>(), kAcross = sizes_of<Across>();
  static constexpr int weight(int point) {
    return Down::weight(point / Across::kPoints) * Across::kWeights +
           Across::weight(point % Across::kPoints);
  }
  // Whether no point before this one has its weight.
  static constexpr bool is_first_of_weight(int point) {
    return point / Across::kPoints < Down::kWeights && point % Across::kPoints < Across::kWeights;
  }
};

// Square kernels with a stride of two, and those of one row.
template <int taps>
using StrideTwo = Filtering<StridedForward<taps>, StridedForward<taps>>;
template <int taps>
using StrideTwoGradInput = Filtering<StridedGradInput<taps>, StridedGradInput<taps>>;
using RowStrideTwo = Filtering<Along<1, 1>, StridedForward<3>>;
using RowStrideTwoGradInput = Filtering<Along<1, 1>, StridedGradInput<3>>;

// F(m x m, r x r).
template <int m, int r>
using Square = Filtering<Along<m, r>, Along<m, r>>;

template <int m, int r>
using SpreadSquare = Filtering<Spread<m, r>, Spread<m, r>>;
template <class F>
constexpr bool kSpreads = false;
template <int m, int r>
constexpr bool kSpreads<SpreadSquare<m, r>> = true;

// Kernels of one row, and of one column.
template <int m, int r>
using Row = Filtering<Along<1, 1>, Along<m, r>>;
template <int m, int r>
using Column = Filtering<Along<m, r>, Along<1, 1>>;

template <class F>
constexpr bool may_be_dilated() {
  return F::Down::kStride == 1 && F::Across::kStride == 1;
}

template <class F>
constexpr bool is_one_axis() {
  return F::Down::kTaps == 1 || F::Across::kTaps == 1;
}

}  // namespace torchconv::cpu

// The sizes of Winograd's algorithms. No torch, no SIMD.
#pragma once

namespace torchconv::cpu {

// F(m, r) along one axis, in any direction: tiles of m destinations and a kernel of r taps, at kSide source
// pixels and as many points. F(1, 1) has one of each.
template <int m, int r>
struct Along {
  static constexpr int kTile = m, kTaps = r, kSide = m + r - 1, kPoints = kSide;
};

// The same as numbers.
struct AxisSizes {
  int tile, taps, side, points;
};

// A nested algorithm: one along the columns of an image, the other along its rows.
template <class DownAxis, class AcrossAxis>
struct Filtering {
  using Down = DownAxis;
  using Across = AcrossAxis;
  static constexpr int kPoints = Down::kPoints * Across::kPoints;
  static constexpr AxisSizes kDown = {Down::kTile, Down::kTaps, Down::kSide, Down::kPoints};
  static constexpr AxisSizes kAcross = {Across::kTile, Across::kTaps, Across::kSide,
                                        Across::kPoints};
};

// F(m x m, r x r).
template <int m, int r>
using Square = Filtering<Along<m, r>, Along<m, r>>;

// Kernels of one row, and of one column.
template <int m, int r>
using Row = Filtering<Along<1, 1>, Along<m, r>>;
template <int m, int r>
using Column = Filtering<Along<m, r>, Along<1, 1>>;

template <class F>
constexpr bool is_one_axis() {
  return F::Down::kTaps == 1 || F::Across::kTaps == 1;
}

}  // namespace torchconv::cpu

// The sizes of Winograd's algorithms. No torch, no SIMD.
#pragma once

namespace torchconv::cpu {

// F(m x m, r x r), in any direction: tiles of m x m pixels of the destination and a kernel of r x r taps, at
// kSide x kSide source pixels and as many points.
template <int m, int r>
struct Filtering {
  static constexpr int kTile = m, kTaps = r, kSide = m + r - 1;
};

}  // namespace torchconv::cpu

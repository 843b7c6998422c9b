// The transforms of F(3x3, 4x4) and F(5x5, 2x2) along one axis. The former: three sums over a tile of four
// elements of grad and six of the input,
//
//     w[r] = sum over i of g[i] x[i + r]  =  A3^T [ (G4 g) * (B^T x) ],   i < 4, r < 3
//
// with 6 products in place of 12, in two dimensions 36 in place of 144. It is the algorithm of
// winograd/transforms.h with the parts of weights and destination exchanged: the same six points, 0, +-a, +-b
// and infinity, so that B^T, too, is the same (source_transform). What B^T leaves out, the divisions by the
// differences of the points, is done here once for the sums rather than for every tile: all numbers of G4
// are then exact in float. F(5x5, 2x2), five sums over a tile of two, has 36 products in place of 100.
#pragma once

#include "cpu/winograd/grad_transforms.h"
#include "cpu/winograd/load_tile.h"

namespace torchconv::cpu {
namespace {

// What load_tile makes of the tiles of grad.
template <class A>
struct GradAxis {
  static constexpr int kSide = A::kTile, kReach = kSide, kPoints = A::kPoints;
  static constexpr int64_t pixel(int64_t index, bool) { return index; }
  template <class V>
  static void transform(const typename V::Vec (&in)[kSide], typename V::Vec (&out)[kPoints]) {
    grad_transform<V>(A{}, in, out);
  }
};
template <class F>
using GradTile = TileKind<GradAxis<typename F::Down>, GradAxis<typename F::Across>>;

// A3^T m: the coefficients of the product.
//
//     | 1/n0  1/na   1/na   1/nb   1/nb  0 |
//     |  0    a/na  -a/na   b/nb  -b/nb  0 |
//     |  0   a2/na  a2/na  b2/nb  b2/nb  1 |
//
// The rows of F(4, 3) go on to a3 and b3, those of F(5, 2) to a4 and b4; infinity counts in the last.
template <class V, int tile, int kTaps>
inline void taps_transform(Along<tile, kTaps>, const typename V::Vec (&m)[6],
                           typename V::Vec (&out)[kTaps]) {
  using P = WinogradPoints;
  using Vec = typename V::Vec;
  const Vec even_a = V::add(m[1], m[2]), odd_a = subtract<V>(m[1], m[2]);
  const Vec even_b = V::add(m[3], m[4]), odd_b = subtract<V>(m[3], m[4]);
  const Vec at_zero = add_scaled<V>(V::zero(), 1 / P::n0, m[0]);
#pragma GCC unroll 8
  for (int i = 0; i < kTaps; ++i) {
    out[i] = add_both<V>(P::a_to[i] / P::na, i % 2 ? odd_a : even_a, P::b_to[i] / P::nb,
                         i % 2 ? odd_b : even_b,
                         i == 0           ? at_zero
                         : i == kTaps - 1 ? m[5]
                                          : V::zero());
  }
}

template <class V>
inline void taps_transform(Along<1, 1>, const typename V::Vec (&m)[1], typename V::Vec (&out)[1]) {
  out[0] = m[0];
}

}  // namespace
}  // namespace torchconv::cpu

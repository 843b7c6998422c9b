// The transforms of F(3x3, 4x4): 3 x 3 sums over a tile of 4 x 4 elements of grad and 6 x 6 of the input,
// with 36 products in place of 144 (Winograd's minimal filtering in the form of Lavin & Gray, "Fast
// Algorithms for Convolutional Neural Networks", 2015). One dimension of it:
//
//     w[r] = sum over i of g[i] x[i + r]  =  A3^T [ (G4 g) .* (B^T x) ],   i < 4, r < 3
//
// is a product of polynomials that is known from its values at six points, and read back from them
// (Toom and Cook): 0, +-a, +-b and infinity, a = 5/8, b = 3/2. These points keep the values of one size and
// every coefficient of B^T and G4 is exact in float. Two dimensions: the same along columns, then rows.
//
//            | 1                      |        | 1/N0                                      |
//            | 1    a    a^2    a^3   |        |                                           |
//     G4  =  | 1   -a    a^2   -a^3   |   A3 = | the column of a point p: 1, p, p^2, all   |
//            | 1    b    b^2    b^3   |        | divided by N, the product of p's distances |
//            | 1   -b    b^2   -b^3   |        | to the other points; of infinity: 0, 0, 1  |
//            |                  1     |
//
// A transform uses fused operations only, in one order: the same bits on every level.
#pragma once

#include "cpu/simd/simd.h"

namespace torchconv::cpu {
namespace {

constexpr int kWinogradSide = 6, kWinogradPoints = kWinogradSide * kWinogradSide;
constexpr float kPointA = 0.625f, kPointA2 = kPointA * kPointA;
constexpr float kPointB = 1.5f, kPointB2 = kPointB * kPointB;

template <class V>
inline typename V::Vec scaled_sum(float scale, typename V::Vec a, typename V::Vec b) {
  return V::fma(V::broadcast(scale), a, b);
}

// B^T d: row i holds the coefficients of the polynomial that vanishes at all points but the i-th.
template <class V>
inline void source_transform4(const typename V::Vec (&d)[6], typename V::Vec (&out)[6]) {
  using Vec = typename V::Vec;
  constexpr float kBoth = kPointA2 * kPointB2, kSum = kPointA2 + kPointB2;
  const Vec even_a = scaled_sum<V>(-kPointB2, d[2], d[4]);
  const Vec odd_a = scaled_sum<V>(-kPointB2, d[1], d[3]);
  const Vec even_b = scaled_sum<V>(-kPointA2, d[2], d[4]);
  const Vec odd_b = scaled_sum<V>(-kPointA2, d[1], d[3]);
  out[0] = scaled_sum<V>(kBoth, d[0], scaled_sum<V>(-kSum, d[2], d[4]));
  out[1] = scaled_sum<V>(kPointA, odd_a, even_a);
  out[2] = scaled_sum<V>(-kPointA, odd_a, even_a);
  out[3] = scaled_sum<V>(kPointB, odd_b, even_b);
  out[4] = scaled_sum<V>(-kPointB, odd_b, even_b);
  out[5] = scaled_sum<V>(kBoth, d[1], scaled_sum<V>(-kSum, d[3], d[5]));
}

// G4 g
template <class V>
inline void grad_transform(const typename V::Vec (&g)[4], typename V::Vec (&out)[6]) {
  using Vec = typename V::Vec;
  const Vec even_a = scaled_sum<V>(kPointA2, g[2], g[0]);
  const Vec odd_a = scaled_sum<V>(kPointA2, g[3], g[1]);
  const Vec even_b = scaled_sum<V>(kPointB2, g[2], g[0]);
  const Vec odd_b = scaled_sum<V>(kPointB2, g[3], g[1]);
  out[0] = g[0];
  out[1] = scaled_sum<V>(kPointA, odd_a, even_a);
  out[2] = scaled_sum<V>(-kPointA, odd_a, even_a);
  out[3] = scaled_sum<V>(kPointB, odd_b, even_b);
  out[4] = scaled_sum<V>(-kPointB, odd_b, even_b);
  out[5] = g[3];
}

// A3^T m
template <class V>
inline void weight_transform(const typename V::Vec (&m)[6], typename V::Vec (&out)[3]) {
  using Vec = typename V::Vec;
  constexpr double kA2 = kPointA2, kB2 = kPointB2;
  constexpr double kZero = 1 / (kA2 * kB2);
  constexpr double kA = 1 / (2 * kA2 * (kA2 - kB2)), kB = 1 / (2 * kB2 * (kB2 - kA2));
  const Vec even_a = V::add(m[1], m[2]), odd_a = scaled_sum<V>(-1, m[2], m[1]);
  const Vec even_b = V::add(m[3], m[4]), odd_b = scaled_sum<V>(-1, m[4], m[3]);
  const auto pair = [](double of_a, Vec a, double of_b, Vec b, Vec rest) {
    return scaled_sum<V>((float)of_a, a, scaled_sum<V>((float)of_b, b, rest));
  };
  out[0] = pair(kA, even_a, kB, even_b, scaled_sum<V>((float)kZero, m[0], V::zero()));
  out[1] = pair(kA * kPointA, odd_a, kB * kPointB, odd_b, V::zero());
  out[2] = pair(kA * kA2, even_a, kB * kB2, even_b, m[5]);
}

}  // namespace
}  // namespace torchconv::cpu

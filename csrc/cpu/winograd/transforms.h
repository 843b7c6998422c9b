// Winograd's transforms along one axis (Toom-Cook interpolation; Lavin and Gray, "Fast Algorithms for
// Convolutional Neural Networks", 2015):
//
//     destination = A^T [(G w) * (B^T d)]
//
// computes F(m, r): m neighbouring destinations from m + r - 1 source elements d and r weights w, with
// m + r - 1 products instead of r m. d and w make polynomials that are evaluated at m + r - 2 points and
// infinity; the products are the values of another one there. F(4, 3), F(3, 4) and F(2, 5) have the points 0, +-a, +-b
// and infinity, a = 5/8 and b = 3/2, and with them B^T: the rms error is about half of that with 0, +-1, +-2
// (Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural
// Networks", 2018, explains why). F(2, 3) has 0, +-1 and infinity.
//
// Every function takes and gives vectors, a problem in each lane; its first argument names the algorithm. Each
// is one fixed sequence of fused multiply-adds: the same bits on every level.
#pragma once

#include "cpu/simd/simd.h"
#include "cpu/winograd/filtering.h"

namespace torchconv::cpu {
namespace {

struct WinogradPoints {
  static constexpr double a = 0.625, b = 1.5;
  static constexpr double a2 = a * a, b2 = b * b;
  static constexpr double a_to[] = {1, a, a2, a2 * a, a2 * a2};  // powers
  static constexpr double b_to[] = {1, b, b2, b2 * b, b2 * b2};
  // The product over the other points of the differences to 0, +-a, +-b.
  static constexpr double n0 = a2 * b2, na = 2 * a2 * (a2 - b2), nb = 2 * b2 * (b2 - a2);
};

// x + scale * y
template <class V, class T>
inline typename V::Vec add_scaled(typename V::Vec x, T scale, typename V::Vec y) {
  return V::fma(V::broadcast(scale), y, x);
}
template <class V>
inline typename V::Vec add_both(double of_a, typename V::Vec at_a, double of_b,
                                typename V::Vec at_b, typename V::Vec rest) {
  return add_scaled<V>(add_scaled<V>(rest, of_b, at_b), of_a, at_a);
}
template <class V>
inline typename V::Vec subtract(typename V::Vec x, typename V::Vec y) {
  return add_scaled<V>(x, -1, y);
}

// B^T d. Row i is the polynomial that vanishes at all points but the i-th:
//
//     |  a2 b2    0    -a2-b2    0    1   0 |
//     |    0   -a b2     -b2     a    1   0 |
//     |    0    a b2     -b2    -a    1   0 |
//     |    0   -b a2     -a2     b    1   0 |
//     |    0    b a2     -a2    -b    1   0 |
//     |    0   a2 b2      0   -a2-b2  0   1 |
template <class V, int m, int r>
inline void source_transform(Along<m, r>, const typename V::Vec (&d)[6],
                             typename V::Vec (&out)[6]) {
  using P = WinogradPoints;
  using Vec = typename V::Vec;
  out[0] = add_scaled<V>(add_scaled<V>(d[4], -(P::a2 + P::b2), d[2]), P::n0, d[0]);
  const Vec even_a = add_scaled<V>(d[4], -P::b2, d[2]), odd_a = add_scaled<V>(d[3], -P::b2, d[1]);
  out[1] = add_scaled<V>(even_a, P::a, odd_a);
  out[2] = add_scaled<V>(even_a, -P::a, odd_a);
  const Vec even_b = add_scaled<V>(d[4], -P::a2, d[2]), odd_b = add_scaled<V>(d[3], -P::a2, d[1]);
  out[3] = add_scaled<V>(even_b, P::b, odd_b);
  out[4] = add_scaled<V>(even_b, -P::b, odd_b);
  out[5] = add_scaled<V>(add_scaled<V>(d[5], -(P::a2 + P::b2), d[3]), P::n0, d[1]);
}

// G w: the values of the weights' polynomial at the points, divided by what B^T left out.
//
//     | 1/n0     0      0   |
//     | 1/na   a/na  a2/na  |
//     | 1/na  -a/na  a2/na  |
//     | 1/nb   b/nb  b2/nb  |
//     | 1/nb  -b/nb  b2/nb  |
//     |  0       0      1   |
template <class V>
inline void weight_transform(Along<4, 3>, const typename V::Vec (&w)[3],
                             typename V::Vec (&out)[6]) {
  using P = WinogradPoints;
  const auto scaled = [](double scale, typename V::Vec x) {
    return add_scaled<V>(V::zero(), scale, x);
  };
  out[0] = scaled(1 / P::n0, w[0]);
  const auto even_a = add_scaled<V>(scaled(1 / P::na, w[0]), P::a2 / P::na, w[2]);
  out[1] = add_scaled<V>(even_a, P::a / P::na, w[1]);
  out[2] = add_scaled<V>(even_a, -P::a / P::na, w[1]);
  const auto even_b = add_scaled<V>(scaled(1 / P::nb, w[0]), P::b2 / P::nb, w[2]);
  out[3] = add_scaled<V>(even_b, P::b / P::nb, w[1]);
  out[4] = add_scaled<V>(even_b, -P::b / P::nb, w[1]);
  out[5] = w[2];
}

// Of F(3, 4), whose rows go on to a3 and b3.
template <class V>
inline void weight_transform(Along<3, 4>, const typename V::Vec (&w)[4],
                             typename V::Vec (&out)[6]) {
  using P = WinogradPoints;
  using Vec = typename V::Vec;
  const auto pair = [](double at_low, Vec low, double at_high, Vec high) {
    return add_scaled<V>(add_scaled<V>(V::zero(), at_low, low), at_high, high);
  };
  out[0] = add_scaled<V>(V::zero(), 1 / P::n0, w[0]);
  const Vec even_a = pair(1 / P::na, w[0], P::a2 / P::na, w[2]),
            odd_a = pair(1 / P::na, w[1], P::a2 / P::na, w[3]);
  out[1] = add_scaled<V>(even_a, P::a, odd_a);
  out[2] = add_scaled<V>(even_a, -P::a, odd_a);
  const Vec even_b = pair(1 / P::nb, w[0], P::b2 / P::nb, w[2]),
            odd_b = pair(1 / P::nb, w[1], P::b2 / P::nb, w[3]);
  out[3] = add_scaled<V>(even_b, P::b, odd_b);
  out[4] = add_scaled<V>(even_b, -P::b, odd_b);
  out[5] = w[3];
}

// Of F(2, 5), whose rows go on to a4 and b4.
template <class V>
inline void weight_transform(Along<2, 5>, const typename V::Vec (&w)[5],
                             typename V::Vec (&out)[6]) {
  using P = WinogradPoints;
  using Vec = typename V::Vec;
  const auto at = [&](double point2, double scale, Vec& even, Vec& odd) {
    const auto scaled = [](double by, Vec x) { return add_scaled<V>(V::zero(), by, x); };
    even = add_scaled<V>(add_scaled<V>(scaled(scale, w[0]), point2 * scale, w[2]),
                         point2 * point2 * scale, w[4]);
    odd = add_scaled<V>(scaled(scale, w[1]), point2 * scale, w[3]);
  };
  Vec even, odd;
  out[0] = add_scaled<V>(V::zero(), 1 / P::n0, w[0]);
  at(P::a2, 1 / P::na, even, odd);
  out[1] = add_scaled<V>(even, P::a, odd);
  out[2] = add_scaled<V>(even, -P::a, odd);
  at(P::b2, 1 / P::nb, even, odd);
  out[3] = add_scaled<V>(even, P::b, odd);
  out[4] = add_scaled<V>(even, -P::b, odd);
  out[5] = w[4];
}

// A^T m: the coefficients of the product.
//
//     | 1   1   1   1   1   0 |
//     | 0   a  -a   b  -b   0 |
//     | 0  a2  a2  b2  b2   0 |
//     | 0  a3 -a3  b3 -b3   1 |
//
// F(3, 4) and F(2, 5) have the first three and two rows; infinity counts in the last.
template <class V, int kTile, int r>
inline void destination_transform(Along<kTile, r>, const typename V::Vec (&m)[6],
                                  typename V::Vec (&out)[kTile]) {
  using P = WinogradPoints;
  using Vec = typename V::Vec;
  const Vec even_a = V::add(m[1], m[2]), odd_a = subtract<V>(m[1], m[2]);
  const Vec even_b = V::add(m[3], m[4]), odd_b = subtract<V>(m[3], m[4]);
  out[0] = V::add(V::add(m[0], even_a), even_b);
#pragma GCC unroll 8
  for (int i = 1; i < kTile; ++i) {
    out[i] = add_both<V>(P::a_to[i], i % 2 ? odd_a : even_a, P::b_to[i], i % 2 ? odd_b : even_b,
                         i == kTile - 1 ? m[5] : V::zero());
  }
}

// The same for F(2, 3): every number is 0, 1 or 1/2.
template <class V>
inline void source_transform(Along<2, 3>, const typename V::Vec (&d)[4],
                             typename V::Vec (&out)[4]) {
  out[0] = subtract<V>(d[0], d[2]);
  out[1] = V::add(d[1], d[2]);
  out[2] = subtract<V>(d[2], d[1]);
  out[3] = subtract<V>(d[1], d[3]);
}

template <class V>
inline void weight_transform(Along<2, 3>, const typename V::Vec (&w)[3],
                             typename V::Vec (&out)[4]) {
  const auto even = V::add(w[0], w[2]);
  const auto half = add_scaled<V>(V::zero(), 0.5, even);
  out[0] = w[0];
  out[1] = add_scaled<V>(half, 0.5, w[1]);
  out[2] = add_scaled<V>(half, -0.5, w[1]);
  out[3] = w[2];
}

template <class V>
inline void destination_transform(Along<2, 3>, const typename V::Vec (&m)[4],
                                  typename V::Vec (&out)[2]) {
  out[0] = V::add(V::add(m[0], m[1]), m[2]);
  out[1] = subtract<V>(subtract<V>(m[1], m[2]), m[3]);
}

// The axis along which a kernel has one tap.
template <class V>
inline void source_transform(Along<1, 1>, const typename V::Vec (&d)[1],
                             typename V::Vec (&out)[1]) {
  out[0] = d[0];
}
template <class V>
inline void weight_transform(Along<1, 1>, const typename V::Vec (&w)[1],
                             typename V::Vec (&out)[1]) {
  out[0] = w[0];
}
template <class V>
inline void destination_transform(Along<1, 1>, const typename V::Vec (&m)[1],
                                  typename V::Vec (&out)[1]) {
  out[0] = m[0];
}

// f(0), f(1) ... f(count - 1), unrolled so that vectors stay in registers. Those of the portable level are arrays in
// memory, of which unrolled transforms would be two megabytes of code.
template <class V, class F>
[[gnu::always_inline]] inline void each_of(int count, const F& f) {
  if constexpr (!__is_class(typename V::Vec)) {
#pragma GCC unroll 10
    for (int i = 0; i < count; ++i) f(i);
  } else {
    for (int i = 0; i < count; ++i) f(i);
  }
}

// One transform down the columns of a tile and then another across its rows: load(i, j) gives an element of
// kRows x kColumns, store(i, j, vector) takes one of kOutRows x kOutColumns, of whose rows only the first `rows`
// are wanted.
template <class V, int kRows, int kOutRows, int kColumns, int kOutColumns, class Down, class Across,
          class Load, class Store>
[[gnu::always_inline]] inline void transform_both_axes(const Down& down, const Across& across,
                                                       const Load& load, const Store& store,
                                                       int64_t rows = kOutRows) {
  using Vec = typename V::Vec;
  Vec half[kOutRows][kColumns];
  each_of<V>(kColumns, [&](int j) {
    Vec in[kRows], out[kOutRows];
    each_of<V>(kRows, [&](int i) { in[i] = load(i, j); });
    down(in, out);
    each_of<V>(kOutRows, [&](int i) { half[i][j] = out[i]; });
  });
  each_of<V>(kOutRows, [&](int i) {
    if (i >= rows) return;
    Vec out[kOutColumns];
    across(half[i], out);
    each_of<V>(kOutColumns, [&](int j) { store(i, j, out[j]); });
  });
}

}  // namespace
}  // namespace torchconv::cpu

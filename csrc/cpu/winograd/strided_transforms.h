// The transforms of F(4, 2) with the points +-a, +-b and infinity, twice or beside four points that are plain
// products (Strided in filtering.h). a = 3/8 and b = 5/4: of 128 channels the rms error is 3.6e-7 of the rms result, less
// than half of that of F(4, 3), and 3.8e-7 to 7e-7 with other points.
#pragma once

#include "cpu/winograd/transforms.h"

namespace torchconv::cpu {
namespace {

struct StridedPoints {
  static constexpr double a = 0.375, b = 1.25;
  static constexpr double a2 = a * a, b2 = b * b;
  // The product over the other points of the differences to a, b; to -a and -b the same with the other sign.
  static constexpr double na = 2 * a * (a2 - b2), nb = 2 * b * (b2 - a2);
};

// B^T d of every other pixel.
//
//     | -a b2   -b2     a    1   0 |
//     |  a b2   -b2    -a    1   0 |
//     | -b a2   -a2     b    1   0 |
//     |  b a2   -a2    -b    1   0 |
//     |  a2 b2    0  -a2-b2  0   1 |
template <class V>
inline void source_of_two_taps(const typename V::Vec* d, typename V::Vec* out) {
  using P = StridedPoints;
  using Vec = typename V::Vec;
  const Vec even_a = add_scaled<V>(d[3], -P::b2, d[1]), odd_a = add_scaled<V>(d[2], -P::b2, d[0]);
  out[0] = add_scaled<V>(even_a, P::a, odd_a);
  out[1] = add_scaled<V>(even_a, -P::a, odd_a);
  const Vec even_b = add_scaled<V>(d[3], -P::a2, d[1]), odd_b = add_scaled<V>(d[2], -P::a2, d[0]);
  out[2] = add_scaled<V>(even_b, P::b, odd_b);
  out[3] = add_scaled<V>(even_b, -P::b, odd_b);
  out[4] = add_scaled<V>(add_scaled<V>(d[4], -(P::a2 + P::b2), d[2]), P::a2 * P::b2, d[0]);
}

template <class V, int taps>
inline void source_transform(Strided<taps>, const typename V::Vec (&d)[6 + taps],
                             typename V::Vec (&out)[6 + taps]) {
  source_of_two_taps<V>(d, out);
  if constexpr (taps == 4) return source_of_two_taps<V>(d + 5, out + 5);
#pragma GCC unroll 5
  for (int i = 5; i < 6 + taps; ++i) out[i] = d[i];
}

// G w of a tap and the next but one.
//
//     |  1/na  a/na |
//     | -1/na  a/na |
//     |  1/nb  b/nb |
//     | -1/nb  b/nb |
//     |   0     1   |
template <class V>
inline void weights_of_two_taps(typename V::Vec first, typename V::Vec second,
                                typename V::Vec* out) {
  using P = StridedPoints;
  const auto far_a = add_scaled<V>(V::zero(), P::a / P::na, second);
  out[0] = add_scaled<V>(far_a, 1 / P::na, first);
  out[1] = add_scaled<V>(far_a, -1 / P::na, first);
  const auto far_b = add_scaled<V>(V::zero(), P::b / P::nb, second);
  out[2] = add_scaled<V>(far_b, 1 / P::nb, first);
  out[3] = add_scaled<V>(far_b, -1 / P::nb, first);
  out[4] = second;
}

template <class V, int taps>
inline void weight_transform(Strided<taps>, const typename V::Vec (&w)[taps],
                             typename V::Vec (&out)[Strided<taps>::kWeights]) {
  weights_of_two_taps<V>(w[0], w[2], out);
  if constexpr (taps == 4) {
    weights_of_two_taps<V>(w[1], w[3], out + 5);
  } else {
    out[5] = w[1];
  }
}

// A^T m.
//
//     | 1   1   1   1   0 |
//     | a  -a   b  -b   0 |
//     | a2  a2  b2  b2  0 |
//     | a3 -a3  b3 -b3  1 |
template <class V>
inline void destinations_of_two_taps(const typename V::Vec* m, typename V::Vec* out) {
  using P = StridedPoints;
  using Vec = typename V::Vec;
  const Vec even_a = V::add(m[0], m[1]), odd_a = subtract<V>(m[0], m[1]);
  const Vec even_b = V::add(m[2], m[3]), odd_b = subtract<V>(m[2], m[3]);
  out[0] = V::add(even_a, even_b);
  out[1] = add_both<V>(P::a, odd_a, P::b, odd_b, V::zero());
  out[2] = add_both<V>(P::a2, even_a, P::b2, even_b, V::zero());
  out[3] = add_both<V>(P::a2 * P::a, odd_a, P::b2 * P::b, odd_b, m[4]);
}

template <class V, int taps>
inline void destination_transform(StridedForward<taps>, const typename V::Vec (&m)[6 + taps],
                                  typename V::Vec (&out)[4]) {
  if constexpr (taps == 4) {
    typename V::Vec both[5];
#pragma GCC unroll 5
    for (int i = 0; i < 5; ++i) both[i] = V::add(m[i], m[5 + i]);
    return destinations_of_two_taps<V>(both, out);
  }
  destinations_of_two_taps<V>(m, out);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) out[i] = V::add(out[i], m[5 + i]);
}

template <class V, int taps>
inline void destination_transform(StridedGradInput<taps>, const typename V::Vec (&m)[6 + taps],
                                  typename V::Vec (&out)[8]) {
  destinations_of_two_taps<V>(m, out);
  if constexpr (taps == 4) return destinations_of_two_taps<V>(m + 5, out + 4);
#pragma GCC unroll 4
  for (int i = 4; i < 8; ++i) out[i] = m[1 + i];
}

}  // namespace
}  // namespace torchconv::cpu

// Winograd's transforms of tiles of grad: their values at the points, for the weight gradient and for tiles that
// spread over the input; and from there to the input. A sum and its derivative have the same matrices, each seen
// from its other side: where forward computes y = A^T [(G w) * (B^T x)], the gradient of x is B [(G w) * (A g)],
// with the points of transforms.h.
#pragma once

#include "cpu/winograd/transforms.h"

namespace torchconv::cpu {
namespace {

// G4 g: the values of grad's polynomial at the points.
//
//     | 1   0   0   0 |
//     | 1   a  a2  a3 |
//     | 1  -a  a2 -a3 |
//     | 1   b  b2  b3 |
//     | 1  -b  b2 -b3 |
//     | 0   0   0   1 |
template <class V>
inline void grad_transform(Along<4, 3>, const typename V::Vec (&g)[4], typename V::Vec (&out)[6]) {
  using P = WinogradPoints;
  using Vec = typename V::Vec;
  out[0] = g[0];
  const Vec even_a = add_scaled<V>(g[0], P::a2, g[2]), odd_a = add_scaled<V>(g[1], P::a2, g[3]);
  out[1] = add_scaled<V>(even_a, P::a, odd_a);
  out[2] = add_scaled<V>(even_a, -P::a, odd_a);
  const Vec even_b = add_scaled<V>(g[0], P::b2, g[2]), odd_b = add_scaled<V>(g[1], P::b2, g[3]);
  out[3] = add_scaled<V>(even_b, P::b, odd_b);
  out[4] = add_scaled<V>(even_b, -P::b, odd_b);
  out[5] = g[3];
}

// Of three elements, the first three columns.
template <class V>
inline void grad_transform(Along<3, 4>, const typename V::Vec (&g)[3], typename V::Vec (&out)[6]) {
  using P = WinogradPoints;
  using Vec = typename V::Vec;
  out[0] = g[0];
  const Vec even_a = add_scaled<V>(g[0], P::a2, g[2]);
  out[1] = add_scaled<V>(even_a, P::a, g[1]);
  out[2] = add_scaled<V>(even_a, -P::a, g[1]);
  const Vec even_b = add_scaled<V>(g[0], P::b2, g[2]);
  out[3] = add_scaled<V>(even_b, P::b, g[1]);
  out[4] = add_scaled<V>(even_b, -P::b, g[1]);
  out[5] = g[2];
}

// Of two elements, the first two columns.
template <class V>
inline void grad_transform(Along<2, 5>, const typename V::Vec (&g)[2], typename V::Vec (&out)[6]) {
  using P = WinogradPoints;
  out[0] = g[0];
  out[1] = add_scaled<V>(g[0], P::a, g[1]);
  out[2] = add_scaled<V>(g[0], -P::a, g[1]);
  out[3] = add_scaled<V>(g[0], P::b, g[1]);
  out[4] = add_scaled<V>(g[0], -P::b, g[1]);
  out[5] = g[1];
}

template <class V>
inline void grad_transform(Along<1, 1>, const typename V::Vec (&g)[1], typename V::Vec (&out)[1]) {
  out[0] = g[0];
}

template <class V, int m, int r>
inline void source_transform(Spread<m, r>, const typename V::Vec (&g)[m],
                             typename V::Vec (&out)[m + r - 1]) {
  grad_transform<V>(Along<m, r>{}, g, out);
}

// B m: the columns of B^T in transforms.h.
template <class V, int m, int r>
inline void spread_transform(Spread<m, r>, const typename V::Vec (&in)[6],
                             typename V::Vec (&out)[6]) {
  using P = WinogradPoints;
  using Vec = typename V::Vec;
  const Vec even_a = V::add(in[1], in[2]), odd_a = subtract<V>(in[1], in[2]);
  const Vec even_b = V::add(in[3], in[4]), odd_b = subtract<V>(in[3], in[4]);
  const Vec zero = V::zero();
  out[0] = add_scaled<V>(zero, P::n0, in[0]);
  out[1] =
      add_both<V>(-P::a * P::b2, odd_a, -P::b * P::a2, odd_b, add_scaled<V>(zero, P::n0, in[5]));
  out[2] =
      add_both<V>(-P::b2, even_a, -P::a2, even_b, add_scaled<V>(zero, -(P::a2 + P::b2), in[0]));
  out[3] = add_both<V>(P::a, odd_a, P::b, odd_b, add_scaled<V>(zero, -(P::a2 + P::b2), in[5]));
  out[4] = V::add(V::add(in[0], even_a), even_b);
  out[5] = in[5];
}

}  // namespace
}  // namespace torchconv::cpu

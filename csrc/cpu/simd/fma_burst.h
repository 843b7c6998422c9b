// Fused multiply-adds in registers only: what the machine can do at most.
#pragma once

#include "cpu/simd/simd.h"

namespace torchconv::cpu {
namespace {

template <class T>
double fma_burst(int64_t iterations) {
  using V = Simd<T>;
  constexpr int kChains = 12;
  typename V::Vec sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = V::broadcast((T)i);
  const typename V::Vec x = V::broadcast((T)0.999), y = V::broadcast((T)0.001);
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kChains; ++j) sum[j] = V::fma(sum[j], x, y);
  }
  T out[V::kLanes];
  typename V::Vec all = sum[0];
  for (int j = 1; j < kChains; ++j) all = V::add(all, sum[j]);
  V::store(out, all);
  // Never true; keeps the sums from being optimised away.
  if (out[0] == -1) return 0;
  return 2.0 * kChains * V::kLanes * (double)iterations;
}

}  // namespace
}  // namespace torchconv::cpu

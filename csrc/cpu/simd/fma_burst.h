// Fused multiply-adds in registers only: what the machine can do at most.
#pragma once

#include "cpu/simd/simd.h"

namespace torchconv::cpu {
namespace {

template <class T>
double fma_burst(int64_t iterations) {
  using S = Simd<T>;
  constexpr int kChains = 12;
  typename S::Vec sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = S::broadcast((T)i);
  const typename S::Vec x = S::broadcast((T)0.999), y = S::broadcast((T)0.001);
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kChains; ++j) sum[j] = S::fma(sum[j], x, y);
  }
  T out[S::kLanes];
  typename S::Vec all = sum[0];
  for (int j = 1; j < kChains; ++j) all = S::add(all, sum[j]);
  S::store(out, all);
  // Never true; keeps the sums from being optimised away.
  if (out[0] == -1) return 0;
  return 2.0 * kChains * S::kLanes * (double)iterations;
}

}  // namespace
}  // namespace torchconv::cpu

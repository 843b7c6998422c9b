// Fused multiply-adds in registers only: what the machine can do at most. Included inside the
// namespace of each isa_*.cpp.
#pragma once

inline double fma_burst(int64_t iterations) {
  using S = Simd<float>;
  constexpr int kChains = 12;
  S::Vec sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = S::broadcast((float)i);
  const S::Vec x = S::broadcast(0.999f), y = S::broadcast(0.001f);
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kChains; ++j) sum[j] = S::fma(sum[j], x, y);
  }
  float out[S::kLanes];
  S::Vec all = sum[0];
  for (int j = 1; j < kChains; ++j) all = S::add(all, sum[j]);
  S::store(out, all);
  // Never true; keeps the sums from being optimised away.
  if (out[0] == -1.0f) return 0;
  return 2.0 * kChains * S::kLanes * (double)iterations;
}

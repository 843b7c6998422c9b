// Sums of integers at the AVX2 level: pairs of channels as 16 bits. The instruction for products of bytes would
// saturate sums of two.
#pragma once

#include <immintrin.h>

#include "cpu/simd/dot.h"

namespace torchconv::cpu {
namespace {

struct Dot {
  static constexpr int kLanes = 8, kTileRows = 6, kStep = 2, kOffset = 0;
  using Element = int16_t;
  using Vec = __m256i;

  static Vec load(const void* p) { return _mm256_loadu_si256((const __m256i*)p); }
  static void store(void* p, Vec v) { _mm256_storeu_si256((__m256i*)p, v); }
  static Vec broadcast(const void* p) {
    int32_t step;
    __builtin_memcpy(&step, p, sizeof(step));
    return _mm256_set1_epi32(step);
  }
  static Vec add_products(Vec sum, Vec pixel, Vec weights) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pixel, weights));
  }
};

}  // namespace
}  // namespace torchconv::cpu

// Sums of integers at the AVX-512 level, without VNNI: pairs of channels as 16 bits.
#pragma once

#include <immintrin.h>

#include "cpu/simd/dot.h"

namespace torchconv::cpu {
namespace {

struct Dot {
  static constexpr int kLanes = 16, kTileRows = 12, kStep = 2, kOffset = 0;
  using Element = int16_t;
  using Vec = __m512i;

  static Vec load(const void* p) { return _mm512_loadu_si512(p); }
  static void store(void* p, Vec v) { _mm512_storeu_si512(p, v); }
  static Vec broadcast(const void* p) {
    int32_t step;
    __builtin_memcpy(&step, p, sizeof(step));
    return _mm512_set1_epi32(step);
  }
  static Vec add_products(Vec sum, Vec pixel, Vec weights) {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(pixel, weights));
  }
};

}  // namespace
}  // namespace torchconv::cpu

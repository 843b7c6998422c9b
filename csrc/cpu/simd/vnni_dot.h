// Sums of integers at the level AVX-512 with VNNI: four channels as bytes, those of pixels unsigned.
#pragma once

#include <immintrin.h>

#include "cpu/simd/dot.h"

namespace torchconv::cpu {
namespace {

struct Dot {
  static constexpr int kLanes = 16, kTileRows = 12, kStep = 4, kOffset = 128;
  using Element = uint8_t;
  using Vec = __m512i;

  static Vec load(const void* p) { return _mm512_loadu_si512(p); }
  static void store(void* p, Vec v) { _mm512_storeu_si512(p, v); }
  static Vec broadcast(const void* p) {
    int32_t step;
    __builtin_memcpy(&step, p, sizeof(step));
    return _mm512_set1_epi32(step);
  }
  static Vec add_products(Vec sum, Vec pixel, Vec weights) {
    return _mm512_dpbusd_epi32(sum, pixel, weights);
  }
};

}  // namespace
}  // namespace torchconv::cpu

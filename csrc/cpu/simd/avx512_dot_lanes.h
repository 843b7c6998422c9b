// What both ways to sum integers in vectors of AVX-512 share, with VNNI and without.
#pragma once

#include <immintrin.h>

#include "cpu/simd/dot.h"

namespace torchconv::cpu {
namespace {

struct Avx512DotLanes {
  static constexpr int kLanes = 16, kTileRows = 12;
  using Vec = __m512i;

  static Vec load(const void* p) { return _mm512_loadu_si512(p); }
  static void store(void* p, Vec v) { _mm512_storeu_si512(p, v); }
  static Vec broadcast(const void* p) {
    int32_t step;
    __builtin_memcpy(&step, p, sizeof(step));
    return _mm512_set1_epi32(step);
  }
};

}  // namespace
}  // namespace torchconv::cpu

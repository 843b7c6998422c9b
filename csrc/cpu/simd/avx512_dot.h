// Sums of integers at the AVX-512 level, without VNNI: pairs of channels as 16 bits.
#pragma once

#include "cpu/simd/avx512_dot_lanes.h"

namespace torchconv::cpu {
namespace {

struct Dot : Avx512DotLanes {
  static constexpr int kStep = 2, kOffset = 0;
  using Element = int16_t;

  static Vec add_products(Vec sum, Vec pixel, Vec weights) {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(pixel, weights));
  }
};

}  // namespace
}  // namespace torchconv::cpu

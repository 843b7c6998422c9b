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

  struct Four {
    Vec even, odd;
  };
  static Four four(Vec bytes) {
    return {_mm512_and_si512(bytes, _mm512_set1_epi16(0xff)), _mm512_srli_epi16(bytes, 8)};
  }
  static Four signed_four(Vec bytes) {
    return {_mm512_srai_epi16(_mm512_slli_epi16(bytes, 8), 8), _mm512_srai_epi16(bytes, 8)};
  }
  static Vec add_fours(Vec sum, const Four& pixels, const Four& weights) {
    return add_products(add_products(sum, pixels.even, weights.even), pixels.odd, weights.odd);
  }
};

}  // namespace
}  // namespace torchconv::cpu

// Sums of integers at the level AVX-512 with VNNI: four channels as bytes, those of pixels unsigned.
#pragma once

#include "cpu/simd/avx512_dot_lanes.h"

namespace torchconv::cpu {
namespace {

struct Dot : Avx512DotLanes {
  static constexpr int kStep = 4, kOffset = 128;
  using Element = uint8_t;

  static Vec add_products(Vec sum, Vec pixel, Vec weights) {
    return _mm512_dpbusd_epi32(sum, pixel, weights);
  }

  using Four = Vec;
  static Four four(Vec bytes) { return bytes; }
  static Four signed_four(Vec bytes) { return bytes; }
  static Vec add_fours(Vec sum, Four pixels, Four weights) {
    return _mm512_dpbusd_epi32(sum, pixels, weights);
  }
};

}  // namespace
}  // namespace torchconv::cpu

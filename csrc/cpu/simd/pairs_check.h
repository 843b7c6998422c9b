// Whether the instruction for pairs computes what the other levels do: its documentation says so, the
// same bits depend on it.
#pragma once

#include "cpu/runtime.h"
#include "cpu/simd/pairs.h"
#include "cpu/simd/simd.h"

namespace torchconv::cpu {
namespace {

// Compares it with two fused steps over operands of every exponent, denormals, infinities and results
// that overflow or vanish among them. Some microseconds.
bool pairs_are_two_steps() {
  using Pairs = Simd<Pair>;
  using V = Simd<float>;
  constexpr int kLanes = Pairs::kLanes, kRounds = 256;
  const FlushDenormals flush;
  uint64_t state = 1;
  const auto random = [&] {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 32);
  };
  const auto widened = [](uint32_t bits) { return __builtin_bit_cast(float, bits); };
  for (int round = 0; round < kRounds; ++round) {
    Pair a[kLanes], b[kLanes];
    float a_first[kLanes], a_second[kLanes], b_first[kLanes], b_second[kLanes];
    float sum[kLanes], in_pairs[kLanes], in_steps[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      a[i].bits = random(), b[i].bits = random();
      // Every other round products of about the size of the sum, which cancel and round.
      if (round % 2) {
        a[i].bits = (a[i].bits & 0x80ff80ff) | 0x3f003f00;
        b[i].bits = (b[i].bits & 0x80ff80ff) | 0x3f003f00;
      }
      a_first[i] = widened(a[i].bits & 0xffff0000), a_second[i] = widened(a[i].bits << 16);
      b_first[i] = widened(b[i].bits & 0xffff0000), b_second[i] = widened(b[i].bits << 16);
      sum[i] = round % 2 ? widened((random() & 0x80ffffff) | 0x3f000000) : widened(random());
    }
    V::store(in_pairs, Pairs::fma(Pairs::load(a), Pairs::load(b), V::load(sum)));
    V::store(in_steps, V::fma(V::load(a_second), V::load(b_second),
                              V::fma(V::load(a_first), V::load(b_first), V::load(sum))));
    for (int i = 0; i < kLanes; ++i) {
      const bool both_nan = in_pairs[i] != in_pairs[i] && in_steps[i] != in_steps[i];
      if (!both_nan && __builtin_memcmp(&in_pairs[i], &in_steps[i], sizeof(float))) return false;
    }
  }
  return true;
}

}  // namespace
}  // namespace torchconv::cpu

// What both ways to sum integers in vectors of AVX-512 share, with VNNI and without.
#pragma once

#include <immintrin.h>

#include "cpu/simd/dot.h"

namespace torchconv::cpu {
namespace {

struct Avx512DotLanes {
  static constexpr int kLanes = 16, kTileRows = 12, kOutputs = 4, kQuadVectors = 4;
  using Vec = __m512i;

  static Vec load(const void* p) { return _mm512_loadu_si512(p); }
  static void store(void* p, Vec v) { _mm512_storeu_si512(p, v); }
  static Vec broadcast(const void* p) {
    int32_t step;
    __builtin_memcpy(&step, p, sizeof(step));
    return _mm512_set1_epi32(step);
  }
  static void store_first(void* p, Vec v, int64_t count) {
    _mm512_mask_storeu_epi32(p, first(count), v);
  }
  static Vec pick(const void* p, int64_t count, Vec which, int flip) {
    const Vec all = _mm512_maskz_loadu_epi32(first(count), p);
    return _mm512_xor_si512(_mm512_permutexvar_epi32(which, all), _mm512_set1_epi8((char)flip));
  }
  static void interleave(const uint8_t* const (&rows)[4], int64_t count, int flip, char* out) {
    // Bytes 16 v + 4 i of a row to lane i, so that unpacking leaves neighbours in each vector v.
    const Vec order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const Vec flips = _mm512_set1_epi8((char)flip);
    for (int64_t i = 0; i < count; i += 64) {
      const int64_t left = count - i;
      const __mmask64 some = left < 64 ? ((__mmask64)1 << left) - 1 : ~(__mmask64)0;
      Vec row[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const Vec bytes = _mm512_maskz_loadu_epi8(some, rows[j] + i);
        row[j] = _mm512_xor_si512(_mm512_permutexvar_epi32(order, bytes), flips);
      }
      const Vec low = _mm512_unpacklo_epi8(row[0], row[1]);
      const Vec high = _mm512_unpackhi_epi8(row[0], row[1]);
      const Vec low_too = _mm512_unpacklo_epi8(row[2], row[3]);
      const Vec high_too = _mm512_unpackhi_epi8(row[2], row[3]);
      const Vec four[4] = {_mm512_unpacklo_epi16(low, low_too), _mm512_unpackhi_epi16(low, low_too),
                           _mm512_unpacklo_epi16(high, high_too),
                           _mm512_unpackhi_epi16(high, high_too)};
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) {
        char* const to = out + 4 * (i + v * kLanes);
        if (left >= (v + 1) * kLanes) {
          store(to, four[v]);
        } else if (left > v * kLanes) {
          store_first(to, four[v], left - v * kLanes);
        }
      }
    }
  }

 private:
  static __mmask16 first(int64_t count) {
    return (__mmask16)(count < kLanes ? (1u << count) - 1 : 0xffff);
  }
};

}  // namespace
}  // namespace torchconv::cpu

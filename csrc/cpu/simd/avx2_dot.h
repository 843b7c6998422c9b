// Sums of integers at the AVX2 level: pairs of channels as 16 bits. The instruction for products of bytes would
// saturate sums of two.
#pragma once

#include <immintrin.h>

#include "cpu/simd/dot.h"

namespace torchconv::cpu {
namespace {

struct Dot {
  static constexpr int kLanes = 8, kTileRows = 6, kStep = 2, kOffset = 0;
  static constexpr int kOutputs = 2, kQuadVectors = 2;
  static constexpr bool kLoadsSpans = false;
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

  struct Four {
    Vec even, odd;
  };
  static Four four(Vec bytes) {
    return {_mm256_and_si256(bytes, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(bytes, 8)};
  }
  static Four signed_four(Vec bytes) {
    return {_mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8), _mm256_srai_epi16(bytes, 8)};
  }
  static Vec add_fours(Vec sum, const Four& pixels, const Four& weights) {
    return add_products(add_products(sum, pixels.even, weights.even), pixels.odd, weights.odd);
  }
  static void store_first(void* p, Vec v, int64_t count) {
    _mm256_maskstore_epi32((int*)p, first(count), v);
  }
  static Vec pick(const void* p, int64_t count, Vec which, int flip) {
    const Vec all = _mm256_maskload_epi32((const int*)p, first(count));
    return _mm256_xor_si256(_mm256_permutevar8x32_epi32(all, which), _mm256_set1_epi8((char)flip));
  }
  struct Window {
    Vec bytes;
    int64_t half;
  };
  // Both halves get 16 bytes, and then of those their four windows.
  static Window window(int64_t step, int64_t apart) {
    char bytes[4 * kLanes];
    for (int i = 0; i < 4 * kLanes; ++i) bytes[i] = (char)(i / 4 % 4 * step + i % 4 * apart);
    return {load(bytes), 4 * step};
  }
  static Vec windows(const char* p, const Window& window) {
    const __m128i low = _mm_loadu_si128((const __m128i*)p);
    const __m128i high = _mm_loadu_si128((const __m128i*)(p + window.half));
    return _mm256_shuffle_epi8(_mm256_set_m128i(high, low), window.bytes);
  }
  static void pad_row(const uint8_t* from, int64_t begin, int64_t end, int64_t bytes, int flip,
                      char* out) {
    __builtin_memset(out, flip, (size_t)bytes);
    char* __restrict__ to = out + begin;
    for (int64_t i = 0; i < end - begin; ++i) to[i] = (char)(from[i] ^ flip);
  }
  static void interleave(const uint8_t* const (&rows)[4], int64_t count, int flip, char* out) {
    // Bytes 8 v + 4 i of a row to lane i, so that unpacking leaves neighbours in each vector v.
    const Vec order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    const Vec flips = _mm256_set1_epi8((char)flip);
    int64_t i = 0;
    for (; i + 32 <= count; i += 32) {
      Vec row[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        row[j] = _mm256_xor_si256(_mm256_permutevar8x32_epi32(load(rows[j] + i), order), flips);
      }
      const Vec low = _mm256_unpacklo_epi8(row[0], row[1]);
      const Vec high = _mm256_unpackhi_epi8(row[0], row[1]);
      const Vec low_too = _mm256_unpacklo_epi8(row[2], row[3]);
      const Vec high_too = _mm256_unpackhi_epi8(row[2], row[3]);
      char* const to = out + 4 * i;
      store(to, _mm256_unpacklo_epi16(low, low_too));
      store(to + 32, _mm256_unpackhi_epi16(low, low_too));
      store(to + 64, _mm256_unpacklo_epi16(high, high_too));
      store(to + 96, _mm256_unpackhi_epi16(high, high_too));
    }
    for (; i + 8 <= count; i += 8) interleave_eight(rows, i, _mm256_castsi256_si128(flips), out);
    for (; i < count; ++i) {
      for (int j = 0; j < 4; ++j) out[4 * i + j] = (char)(rows[j][i] ^ flip);
    }
  }

 private:
  static Vec first(int64_t count) {
    const Vec places = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(count < kLanes ? count : kLanes)), places);
  }
  static void interleave_eight(const uint8_t* const (&rows)[4], int64_t i, __m128i flips,
                               char* out) {
    __m128i row[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      row[j] = _mm_xor_si128(_mm_loadl_epi64((const __m128i*)(rows[j] + i)), flips);
    }
    const __m128i low = _mm_unpacklo_epi8(row[0], row[1]);
    const __m128i high = _mm_unpacklo_epi8(row[2], row[3]);
    _mm_storeu_si128((__m128i*)(out + 4 * i), _mm_unpacklo_epi16(low, high));
    _mm_storeu_si128((__m128i*)(out + 4 * i + 16), _mm_unpackhi_epi16(low, high));
  }
};

}  // namespace
}  // namespace torchconv::cpu

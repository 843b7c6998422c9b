// What both ways to sum integers in vectors of AVX-512 share, with VNNI and without.
#pragma once

#include <immintrin.h>

#include "cpu/simd/dot.h"

namespace torchconv::cpu {
namespace {

struct Avx512DotLanes {
  static constexpr int kLanes = 16, kTileRows = 12, kOutputs = 4, kQuadVectors = 4;
  static constexpr bool kLoadsSpans = true;
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
  struct Window {
    Vec dwords, bytes;
  };
  // Lane i of 128 bits gets the 16 bytes from 4 i * step on, and then of those its four windows. Of `two` vectors
  // the second gives the upper half.
  static Window window(int64_t step, int64_t apart, int quad = 0, bool two = false) {
    alignas(64) int32_t dwords[kLanes];
    alignas(64) char bytes[4 * kLanes];
    for (int i = 0; i < kLanes; ++i) {
      const int lane = two ? i % (kLanes / 2) : i;
      dwords[i] = (int32_t)(lane / 4 * step + lane % 4 + quad * apart) + (lane < i ? kLanes : 0);
    }
    for (int i = 0; i < 4 * kLanes; ++i) bytes[i] = (char)(i / 4 % 4 * step + i % 4 * apart);
    return {load(dwords), load(bytes)};
  }
  static Vec windows(const char* p, const Window& window) {
    return _mm512_shuffle_epi8(_mm512_permutexvar_epi32(window.dwords, load(p)), window.bytes);
  }
  using Span = __mmask64;
  static Span span(int64_t begin, int64_t end) { return bits(end) & ~bits(begin); }
  static Vec bytes(int value) { return _mm512_set1_epi8((char)value); }
  static Vec load_span(const void* p, Span some, Vec flips) {
    return _mm512_xor_si512(_mm512_maskz_loadu_epi8(some, p), flips);
  }
  static Vec windows_of(const Vec (&bytes)[1], const Window& window) {
    return _mm512_shuffle_epi8(_mm512_permutexvar_epi32(window.dwords, bytes[0]), window.bytes);
  }
  static Vec windows_of(const Vec (&bytes)[2], const Window& window) {
    const Vec both = _mm512_permutex2var_epi32(bytes[0], window.dwords, bytes[1]);
    return _mm512_shuffle_epi8(both, window.bytes);
  }
  static Vec halves(Vec a, Vec b) { return _mm512_mask_blend_epi32(0xff00, a, b); }
  using Lanes = __mmask16;
  static Lanes lanes(int64_t begin, int64_t end) { return (Lanes)(first(end) & ~first(begin)); }
  static void store_lanes(void* p, Vec v, Lanes some) { _mm512_mask_storeu_epi32(p, some, v); }
  static void pad_row(const uint8_t* from, int64_t begin, int64_t end, int64_t bytes, int flip,
                      char* out) {
    const Vec flips = _mm512_set1_epi8((char)flip);
    for (int64_t i = 0; i < bytes; i += 64) {
      const __mmask64 some = bits(end - i) & ~bits(begin - i);
      const Vec row = some ? _mm512_maskz_loadu_epi8(some, from + (i - begin)) : Vec{};
      store(out + i, _mm512_xor_si512(row, flips));
    }
  }
  static void interleave(const uint8_t* const (&rows)[4], int64_t count, int flip, char* out) {
    // Bytes 16 v + 4 i of a row to lane i, so that unpacking leaves neighbours in each vector v.
    const Vec order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const Vec flips = _mm512_set1_epi8((char)flip);
    for (int64_t i = 0; i < count; i += 64) {
      const int64_t left = count - i;
      const __mmask64 some = bits(left);
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
  static __mmask64 bits(int64_t count) {
    return count >= 64 ? ~(__mmask64)0 : count <= 0 ? 0 : ((__mmask64)1 << count) - 1;
  }
  static __mmask16 first(int64_t count) {
    return (__mmask16)(count < kLanes ? (1u << count) - 1 : 0xffff);
  }
};

}  // namespace
}  // namespace torchconv::cpu

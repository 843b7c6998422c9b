// Vectors of the AVX2 level: 8 float lanes, 4 double lanes.
#pragma once

#include <immintrin.h>

#include "cpu/simd/simd.h"

namespace torchconv::cpu {
namespace {

inline __m256i first_lanes_epi32(int64_t count) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), index);
}
inline __m256i first_lanes_epi64(int64_t count) {
  const __m256i index = _mm256_setr_epi64x(0, 1, 2, 3);
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), index);
}

template <>
struct Simd<float> {
  using Vec = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kRegisters = 16;
  static constexpr bool kStreams = true;

  static Vec zero() { return _mm256_setzero_ps(); }
  static Vec broadcast(float x) { return _mm256_set1_ps(x); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
  static Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
  static Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
  static Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
  static Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
  static Vec if_positive(Vec x, Vec a, Vec b) {
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, zero(), _CMP_GT_OQ));
  }
  static Vec to_exponent(Vec v) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(v), 23));
  }
  // Holds a loaded vector in its register: the compiler would rather load it again for every use.
  static Vec held(Vec v) {
    asm("" : "+x"(v));
    return v;
  }

  static bool any_nan(Vec v) { return _mm256_movemask_ps(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)) != 0; }
  // a0 a1 ... b0 b1 ... become a0 b0 a1 b1 ..., and back.
  static void interleave(Vec& a, Vec& b) {
    const Vec low = _mm256_unpacklo_ps(a, b), high = _mm256_unpackhi_ps(a, b);
    a = _mm256_permute2f128_ps(low, high, 0x20);
    b = _mm256_permute2f128_ps(low, high, 0x31);
  }
  static void deinterleave(Vec& a, Vec& b) {
    const Vec low = _mm256_permute2f128_ps(a, b, 0x20), high = _mm256_permute2f128_ps(a, b, 0x31);
    a = _mm256_shuffle_ps(low, high, 0x88);
    b = _mm256_shuffle_ps(low, high, 0xdd);
  }

  static Vec permute(Vec v, const int32_t* lanes) {
    return _mm256_permutevar8x32_ps(v, _mm256_loadu_si256((const __m256i*)lanes));
  }
  static Vec permute(Vec a, Vec b, const int32_t* lanes) {
    const __m256i from = _mm256_loadu_si256((const __m256i*)lanes);
    const Vec second =
        _mm256_castsi256_ps(_mm256_slli_epi32(from, 28));  // lanes 8 to 15 have its sign
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(a, from), _mm256_permutevar8x32_ps(b, from),
                            second);
  }

  static Vec from_bfloat16(__m128i half) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
  }
  static Vec load(const float* p) { return _mm256_loadu_ps(p); }
  static Vec load(const BFloat16* p) { return from_bfloat16(_mm_loadu_si128((const __m128i*)p)); }
  static Vec load(const Float16* p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)); }

  // The first `count` lanes from memory, the others zero; touches no byte beyond them.
  static Vec load_first(const float* p, int64_t count) {
    return _mm256_maskload_ps(p, first_lanes_epi32(count));
  }
  // The lanes [begin, end) from memory, 0 <= begin and end <= kLanes.
  using Mask = __m256i;
  static Mask lanes(int64_t begin, int64_t end) {
    return _mm256_andnot_si256(first_lanes_epi32(begin), first_lanes_epi32(end));
  }
  static Vec load_masked(const float* p, Mask mask) { return _mm256_maskload_ps(p, mask); }
  // Four, two and one of them: there is no masked load of 16-bit elements.
  template <class Half>
  static __m128i load_first_half(const Half* p, int64_t count) {
    if (count >= 8) return _mm_loadu_si128((const __m128i*)p);
    uint64_t rest = 0, first = 0;
    const Half* const end = p + (count & 4);
    if (count & 2) {
      uint32_t two;
      __builtin_memcpy(&two, end, 4);
      rest = two;
    }
    if (count & 1) rest |= (uint64_t)end[count & 2].bits << (count & 2 ? 32 : 0);
    if (!(count & 4)) return _mm_set_epi64x(0, (int64_t)rest);
    __builtin_memcpy(&first, p, 8);
    return _mm_set_epi64x((int64_t)rest, (int64_t)first);
  }
  static Vec load_first(const BFloat16* p, int64_t count) {
    return from_bfloat16(load_first_half(p, count));
  }
  static Vec load_first(const Float16* p, int64_t count) {
    return _mm256_cvtph_ps(load_first_half(p, count));
  }

  static void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
  static void store(BFloat16* p, Vec v) { _mm_storeu_si128((__m128i*)p, to_bfloat16(v)); }
  static void store(Float16* p, Vec v) { _mm_storeu_si128((__m128i*)p, to_float16(v)); }
  static void stream(float* p, Vec v) { _mm256_stream_ps(p, v); }

  // In pieces: a masked store is a long microprogram on some processors.
  static void store_first(float* p, Vec v, int64_t count) {
    if (count >= 8) return store(p, v);
    __m128 rest = _mm256_castps256_ps128(v);
    if (count & 4) {
      _mm_storeu_ps(p, rest);
      rest = _mm256_extractf128_ps(v, 1);
      p += 4;
    }
    if (count & 2) {
      _mm_storel_pi((__m64*)p, rest);
      rest = _mm_movehl_ps(rest, rest);
      p += 2;
    }
    if (count & 1) _mm_store_ss(p, rest);
  }
  template <class Half>
  static void store_first_half(Half* p, __m128i v, int64_t count) {
    if (count >= 8) return _mm_storeu_si128((__m128i*)p, v);
    if (count & 4) {
      _mm_storel_epi64((__m128i*)p, v);
      v = _mm_unpackhi_epi64(v, v);
      p += 4;
    }
    uint64_t rest = (uint64_t)_mm_cvtsi128_si64(v);
    if (count & 2) {
      const uint32_t two = (uint32_t)rest;
      __builtin_memcpy((void*)p, &two, 4);
      rest >>= 32;
      p += 2;
    }
    if (count & 1) p->bits = (uint16_t)rest;
  }
  static void store_first(BFloat16* p, Vec v, int64_t count) {
    store_first_half(p, to_bfloat16(v), count);
  }
  static void store_first(Float16* p, Vec v, int64_t count) {
    store_first_half(p, to_float16(v), count);
  }

  // Round to nearest even; every NaN becomes the quiet NaN 0x7fc0.
  static __m128i to_bfloat16(Vec v) {
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    __m256i high = _mm256_srli_epi32(_mm256_add_epi32(bits, bias), 16);
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    high = _mm256_blendv_epi8(high, _mm256_set1_epi32(0x7fc0), nan);
    return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
  }
  static __m128i to_float16(Vec v) {
    return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }

  // In place: row i, lane j becomes row j, lane i.
  static void transpose(Vec (&m)[8]) {
    Vec t[8];
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm256_unpacklo_ps(m[i], m[i + 1]);
      t[i + 1] = _mm256_unpackhi_ps(m[i], m[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
      for (int j = 0; j < 2; ++j) {
        m[i + 2 * j] = _mm256_shuffle_ps(t[i + j], t[i + j + 2], 0x44);
        m[i + 2 * j + 1] = _mm256_shuffle_ps(t[i + j], t[i + j + 2], 0xee);
      }
    }
    for (int i = 0; i < 4; ++i) {
      t[i] = _mm256_permute2f128_ps(m[i], m[i + 4], 0x20);
      t[i + 4] = _mm256_permute2f128_ps(m[i], m[i + 4], 0x31);
    }
    for (int i = 0; i < 8; ++i) m[i] = t[i];
  }
};

template <>
struct Simd<double> {
  using Vec = __m256d;
  static constexpr int kLanes = 4;
  static constexpr int kRegisters = 16;
  static constexpr bool kStreams = true;

  static Vec zero() { return _mm256_setzero_pd(); }
  static Vec broadcast(double x) { return _mm256_set1_pd(x); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_pd(a, b, c); }
  static Vec add(Vec a, Vec b) { return _mm256_add_pd(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm256_mul_pd(a, b); }
  static Vec div(Vec a, Vec b) { return _mm256_div_pd(a, b); }
  static Vec min(Vec a, Vec b) { return _mm256_min_pd(a, b); }
  static Vec max(Vec a, Vec b) { return _mm256_max_pd(a, b); }
  static Vec if_positive(Vec x, Vec a, Vec b) {
    return _mm256_blendv_pd(b, a, _mm256_cmp_pd(x, zero(), _CMP_GT_OQ));
  }
  static Vec to_exponent(Vec v) {
    return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(v), 52));
  }
  // Holds a loaded vector in its register: the compiler would rather load it again for every use.
  static Vec held(Vec v) {
    asm("" : "+x"(v));
    return v;
  }
  static bool any_nan(Vec v) { return _mm256_movemask_pd(_mm256_cmp_pd(v, v, _CMP_UNORD_Q)) != 0; }
  static void interleave(Vec& a, Vec& b) {
    const Vec low = _mm256_unpacklo_pd(a, b), high = _mm256_unpackhi_pd(a, b);
    a = _mm256_permute2f128_pd(low, high, 0x20);
    b = _mm256_permute2f128_pd(low, high, 0x31);
  }
  static void deinterleave(Vec& a, Vec& b) {
    const Vec low = _mm256_permute2f128_pd(a, b, 0x20), high = _mm256_permute2f128_pd(a, b, 0x31);
    a = _mm256_unpacklo_pd(low, high);
    b = _mm256_unpackhi_pd(low, high);
  }
  static Vec load(const double* p) { return _mm256_loadu_pd(p); }
  static Vec load_first(const double* p, int64_t count) {
    return _mm256_maskload_pd(p, first_lanes_epi64(count));
  }
  using Mask = __m256i;
  static Mask lanes(int64_t begin, int64_t end) {
    return _mm256_andnot_si256(first_lanes_epi64(begin), first_lanes_epi64(end));
  }
  static Vec load_masked(const double* p, Mask mask) { return _mm256_maskload_pd(p, mask); }
  static void store(double* p, Vec v) { _mm256_storeu_pd(p, v); }
  static void stream(double* p, Vec v) { _mm256_stream_pd(p, v); }
  static void store_first(double* p, Vec v, int64_t count) {
    if (count >= 4) return store(p, v);
    __m128d rest = _mm256_castpd256_pd128(v);
    if (count & 2) {
      _mm_storeu_pd(p, rest);
      rest = _mm256_extractf128_pd(v, 1);
      p += 2;
    }
    if (count & 1) _mm_store_sd(p, rest);
  }

  static void transpose(Vec (&m)[4]) {
    const Vec a = _mm256_unpacklo_pd(m[0], m[1]), b = _mm256_unpackhi_pd(m[0], m[1]);
    const Vec c = _mm256_unpacklo_pd(m[2], m[3]), d = _mm256_unpackhi_pd(m[2], m[3]);
    m[0] = _mm256_permute2f128_pd(a, c, 0x20);
    m[1] = _mm256_permute2f128_pd(b, d, 0x20);
    m[2] = _mm256_permute2f128_pd(a, c, 0x31);
    m[3] = _mm256_permute2f128_pd(b, d, 0x31);
  }
};

}  // namespace
}  // namespace torchconv::cpu

// What the levels with AVX-512 have in common: 16 float lanes, 8 double lanes.
#pragma once

#include <immintrin.h>

#include "cpu/simd/simd.h"

namespace torchconv::cpu {
namespace {

inline __mmask16 first_lanes16(int64_t count) {
  return (__mmask16)((1u << count) - 1u);
}
inline __mmask8 first_lanes8(int64_t count) {
  return (__mmask8)((1u << count) - 1u);
}

// Half a vector of floats.
struct Avx512HalfFloats {
  using Vec = __m256;

  static Vec zero() { return _mm256_setzero_ps(); }
  static Vec broadcast(float x) { return _mm256_set1_ps(x); }
  static Vec of(__m512 whole) { return _mm512_castps512_ps256(whole); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
  static Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
  static Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
  static Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
  static Vec load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
};

struct Avx512Floats {
  using Half = Avx512HalfFloats;
  using Vec = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kRegisters = 32;
  static constexpr bool kStreams = true;

  static Vec zero() { return _mm512_setzero_ps(); }
  static Vec broadcast(float x) { return _mm512_set1_ps(x); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
  static Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
  static Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
  static Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
  static Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
  static Vec if_positive(Vec x, Vec a, Vec b) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, zero(), _CMP_GT_OQ), b, a);
  }
  static Vec to_exponent(Vec v) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(v), 23));
  }
  // Holds a loaded vector in its register: the compiler would rather load it again for every use.
  static Vec held(Vec v) {
    asm("" : "+v"(v));
    return v;
  }

  // a0 a1 ... b0 b1 ... become a0 b0 a1 b1 ..., and back.
  static void interleave(Vec& a, Vec& b) {
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const Vec first = _mm512_permutex2var_ps(a, low, b);
    b = _mm512_permutex2var_ps(a, _mm512_add_epi32(low, _mm512_set1_epi32(8)), b);
    a = first;
  }
  static void deinterleave(Vec& a, Vec& b) {
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const Vec first = _mm512_permutex2var_ps(a, even, b);
    b = _mm512_permutex2var_ps(a, _mm512_add_epi32(even, _mm512_set1_epi32(1)), b);
    a = first;
  }

  static Vec permute(Vec v, const int32_t* lanes) {
    return _mm512_permutexvar_ps(_mm512_loadu_si512(lanes), v);
  }
  static Vec permute(Vec a, Vec b, const int32_t* lanes) {
    return _mm512_permutex2var_ps(a, _mm512_loadu_si512(lanes), b);
  }

  static Vec load(const float* p) { return _mm512_loadu_ps(p); }
  static Vec load(const BFloat16* p) {
    const __m256i half = _mm256_loadu_si256((const __m256i*)p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  static Vec load(const Float16* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
  }

  // Twice as many neighbours, those at even places and those at odd ones: a vector is an operation, where
  // widening takes two. Stores round as those of a vector, but for NaN, which with_quiet_nan() makes the
  // one that they store.
  static void load_even_odd(const BFloat16* p, Vec& even, Vec& odd) {
    const __m512i both = _mm512_loadu_si512(p);
    even = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
    odd = _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32((int)0xffff0000)));
  }

  // The first `count` lanes from memory, the others zero; touches no byte beyond them.
  static Vec load_first(const float* p, int64_t count) {
    return _mm512_maskz_loadu_ps(first_lanes16(count), p);
  }
  // The lanes [begin, end) from memory, 0 <= begin and end <= kLanes.
  using Mask = __mmask16;
  static Mask lanes(int64_t begin, int64_t end) {
    return begin < end ? (Mask)(first_lanes16(end) & ~first_lanes16(begin)) : (Mask)0;
  }
  static Vec load_masked(const float* p, Mask mask) { return _mm512_maskz_loadu_ps(mask, p); }
  static Vec load_first(const BFloat16* p, int64_t count) {
    const __m256i half = _mm256_maskz_loadu_epi16(first_lanes16(count), p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  static Vec load_first(const Float16* p, int64_t count) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes16(count), p));
  }

  static void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
  static void store(BFloat16* p, Vec v) { _mm256_storeu_si256((__m256i*)p, to_bfloat16(v)); }
  static void store(Float16* p, Vec v) { _mm256_storeu_si256((__m256i*)p, to_float16(v)); }
  static void stream(float* p, Vec v) { _mm512_stream_ps(p, v); }

  static void store_first(float* p, Vec v, int64_t count) {
    _mm512_mask_storeu_ps(p, first_lanes16(count), v);
  }
  static void store_first(BFloat16* p, Vec v, int64_t count) {
    _mm256_mask_storeu_epi16(p, first_lanes16(count), to_bfloat16(v));
  }
  static void store_first(Float16* p, Vec v, int64_t count) {
    _mm256_mask_storeu_epi16(p, first_lanes16(count), to_float16(v));
  }

  // Round to nearest even; every NaN becomes the quiet NaN 0x7fc0.
  static __m256i to_bfloat16(Vec v) {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i bias = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    __m512i high = _mm512_srli_epi32(_mm512_add_epi32(bits, bias), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    high = _mm512_mask_mov_epi32(high, nan, _mm512_set1_epi32(0x7fc0));
    return _mm512_cvtepi32_epi16(high);
  }
  static __m256i to_float16(Vec v) {
    return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }

  static void store_even_odd(BFloat16* p, Vec even, Vec odd) {
    const __m512i low = _mm512_srli_epi32(rounded_bits(even), 16), high = rounded_bits(odd);
    _mm512_storeu_si512(p, _mm512_mask_mov_epi16(low, 0xaaaaaaaa, high));
  }
  // To nearest even in the upper half of a lane; the lower one is any.
  static __m512i rounded_bits(Vec v) {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    return _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  }
  static bool any_nan(Vec v) { return _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q); }
  static Vec with_quiet_nan(Vec v) {
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    return _mm512_mask_mov_ps(v, nan, _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)));
  }

  // In place: row i, lane j becomes row j, lane i.
  static void transpose(Vec (&m)[16]) {
    Vec t[16];
    for (int i = 0; i < 16; i += 2) {
      t[i] = _mm512_unpacklo_ps(m[i], m[i + 1]);
      t[i + 1] = _mm512_unpackhi_ps(m[i], m[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
      for (int j = 0; j < 2; ++j) {
        const __m512d low = _mm512_castps_pd(t[i + j]), high = _mm512_castps_pd(t[i + j + 2]);
        m[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
        m[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
      }
    }
    for (int i = 0; i < 4; ++i) {
      t[i] = _mm512_shuffle_f32x4(m[i], m[i + 4], 0x88);
      t[i + 4] = _mm512_shuffle_f32x4(m[i], m[i + 4], 0xdd);
      t[i + 8] = _mm512_shuffle_f32x4(m[i + 8], m[i + 12], 0x88);
      t[i + 12] = _mm512_shuffle_f32x4(m[i + 8], m[i + 12], 0xdd);
    }
    for (int i = 0; i < 8; ++i) {
      m[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
      m[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
    }
  }
};

template <>
struct Simd<double> {
  using Vec = __m512d;
  static constexpr int kLanes = 8;
  static constexpr int kRegisters = 32;
  static constexpr bool kStreams = true;

  static Vec zero() { return _mm512_setzero_pd(); }
  static Vec broadcast(double x) { return _mm512_set1_pd(x); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_pd(a, b, c); }
  static Vec add(Vec a, Vec b) { return _mm512_add_pd(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm512_mul_pd(a, b); }
  static Vec div(Vec a, Vec b) { return _mm512_div_pd(a, b); }
  static Vec min(Vec a, Vec b) { return _mm512_min_pd(a, b); }
  static Vec max(Vec a, Vec b) { return _mm512_max_pd(a, b); }
  static Vec if_positive(Vec x, Vec a, Vec b) {
    return _mm512_mask_blend_pd(_mm512_cmp_pd_mask(x, zero(), _CMP_GT_OQ), b, a);
  }
  static Vec to_exponent(Vec v) {
    return _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(v), 52));
  }
  // Holds a loaded vector in its register: the compiler would rather load it again for every use.
  static Vec held(Vec v) {
    asm("" : "+v"(v));
    return v;
  }
  static bool any_nan(Vec v) { return _mm512_cmp_pd_mask(v, v, _CMP_UNORD_Q) != 0; }
  static void interleave(Vec& a, Vec& b) {
    const __m512i low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
    const Vec first = _mm512_permutex2var_pd(a, low, b);
    b = _mm512_permutex2var_pd(a, _mm512_add_epi64(low, _mm512_set1_epi64(4)), b);
    a = first;
  }
  static void deinterleave(Vec& a, Vec& b) {
    const Vec first = _mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), b);
    b = _mm512_permutex2var_pd(a, _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15), b);
    a = first;
  }
  static Vec load(const double* p) { return _mm512_loadu_pd(p); }
  static Vec load_first(const double* p, int64_t count) {
    return _mm512_maskz_loadu_pd(first_lanes8(count), p);
  }
  using Mask = __mmask8;
  static Mask lanes(int64_t begin, int64_t end) {
    return begin < end ? (Mask)(first_lanes8(end) & ~first_lanes8(begin)) : (Mask)0;
  }
  static Vec load_masked(const double* p, Mask mask) { return _mm512_maskz_loadu_pd(mask, p); }
  static void store(double* p, Vec v) { _mm512_storeu_pd(p, v); }
  static void stream(double* p, Vec v) { _mm512_stream_pd(p, v); }
  static void store_first(double* p, Vec v, int64_t count) {
    _mm512_mask_storeu_pd(p, first_lanes8(count), v);
  }

  static void transpose(Vec (&m)[8]) {
    Vec t[8];
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm512_unpacklo_pd(m[i], m[i + 1]);
      t[i + 1] = _mm512_unpackhi_pd(m[i], m[i + 1]);
    }
    for (int i = 0; i < 2; ++i) {
      m[i] = _mm512_shuffle_f64x2(t[i], t[i + 2], 0x88);
      m[i + 2] = _mm512_shuffle_f64x2(t[i], t[i + 2], 0xdd);
      m[i + 4] = _mm512_shuffle_f64x2(t[i + 4], t[i + 6], 0x88);
      m[i + 6] = _mm512_shuffle_f64x2(t[i + 4], t[i + 6], 0xdd);
    }
    for (int i = 0; i < 4; ++i) {
      t[i] = _mm512_shuffle_f64x2(m[i], m[i + 4], 0x88);
      t[i + 4] = _mm512_shuffle_f64x2(m[i], m[i + 4], 0xdd);
    }
    for (int i = 0; i < 8; ++i) m[i] = t[i];
  }
};

}  // namespace
}  // namespace torchconv::cpu

// Vectors of the level AVX-512 with BF16: those of AVX-512, which round to bfloat16 with an instruction, and
// 16 pairs of bfloat16.
#pragma once

#include "cpu/simd/avx512_lanes.h"
#include "cpu/simd/pairs.h"

namespace torchconv::cpu {
namespace {

template <>
struct Simd<float> : Avx512Floats {
  using Avx512Floats::store;
  using Avx512Floats::store_first;

  static void store(BFloat16* p, Vec v) { _mm256_storeu_si256((__m256i*)p, to_bfloat16(v)); }
  static void store_first(BFloat16* p, Vec v, int64_t count) {
    _mm256_mask_storeu_epi16(p, first_lanes16(count), to_bfloat16(v));
  }

  // As Avx512Floats: the instruction would keep the payload of a NaN.
  static __m256i to_bfloat16(Vec v) { return (__m256i)_mm512_cvtneps_pbh(with_quiet_nan(v)); }

  // Two vectors, one after the other.
  static void store(BFloat16* p, Vec first, Vec second) {
    const __m512bh both = _mm512_cvtne2ps_pbh(with_quiet_nan(second), with_quiet_nan(first));
    _mm512_storeu_si512(p, (__m512i)both);
  }

 private:
  // NaN becomes 0x7fc00000, whatever its sign and payload.
  static Vec with_quiet_nan(Vec v) {
    // Four bits for each class of numbers, quiet and signaling NaN the lowest: 0 is the first operand, 1 the second.
    const __m512i choice = _mm512_set1_epi32(0x11111100);
    return _mm512_fixupimm_ps(_mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)), v, choice, 0);
  }
};

template <>
struct Simd<Pair> : Simd<float> {
  using Simd<float>::broadcast;
  using Simd<float>::load;
  using Simd<float>::load_first;
  using Simd<float>::store;
  using Simd<float>::store_first;

  struct Half : Avx512HalfFloats {
    using Avx512HalfFloats::broadcast;
    using Avx512HalfFloats::load;
    using Avx512HalfFloats::store;
    static Vec broadcast(Pair x) { return _mm256_castsi256_ps(_mm256_set1_epi32((int)x.bits)); }
    static Vec fma(Vec a, Vec b, Vec c) {
      return _mm256_dpbf16_ps(c, (__m256bh)_mm256_castps_si256(a),
                              (__m256bh)_mm256_castps_si256(b));
    }
    static Vec load(const Pair* p) { return _mm256_loadu_ps((const float*)p); }
    static void store(BFloat16* p, Vec v) {
      const __m256i both = to_bfloat16(_mm512_castps256_ps512(v));
      _mm_storeu_si128((__m128i*)p, _mm256_castsi256_si128(both));
    }
  };

  static Vec broadcast(Pair x) { return _mm512_castsi512_ps(_mm512_set1_epi32((int)x.bits)); }
  static Vec fma(Vec a, Vec b, Vec c) {
    return _mm512_dpbf16_ps(c, (__m512bh)_mm512_castps_si512(a), (__m512bh)_mm512_castps_si512(b));
  }

  static Vec load(const Pair* p) { return _mm512_loadu_ps(p); }
  static Vec load(NeighbourPairs row) { return swapped(_mm512_loadu_si512(row.data)); }
  static Vec load(RowPairs row) {
    const __m256i first = _mm256_loadu_si256((const __m256i*)row.data);
    return together(first, _mm256_loadu_si256((const __m256i*)(row.data + row.apart)));
  }
  // As a number a bfloat16 is the upper half of a float.
  static Vec load(LonePairs row) { return load(row.data); }
  static Vec load_first(LonePairs row, int64_t count) { return load_first(row.data, count); }
  static Vec load_first(const Pair* p, int64_t count) {
    return _mm512_maskz_loadu_ps(first_lanes16(count), p);
  }
  static Vec load_first(NeighbourPairs row, int64_t count) {
    return swapped(_mm512_maskz_loadu_epi32(first_lanes16(count), row.data));
  }
  static Vec load_first(RowPairs row, int64_t count) {
    const __mmask16 mask = first_lanes16(count);
    const __m256i first = _mm256_maskz_loadu_epi16(mask, row.data);
    return together(first, _mm256_maskz_loadu_epi16(mask, row.data + row.apart));
  }
  static Vec load(OddPairs row) { return load_first(row, kLanes); }
  static Vec load_first(OddPairs row, int64_t count) {
    const int64_t elements = 2 * count < 2 * row.pairs ? 2 * count : 2 * row.pairs - 1;
    const __mmask32 mask = (__mmask32)((uint64_t{1} << elements) - 1);
    return swapped(_mm512_maskz_loadu_epi16(mask, row.data));
  }
  static void store(Pair* p, Vec v) { _mm512_storeu_ps(p, v); }
  static void store_first(Pair* p, Vec v, int64_t count) {
    _mm512_mask_storeu_ps(p, first_lanes16(count), v);
  }

 private:
  // Neighbours lie in memory with the first one in the lower half.
  static Vec swapped(__m512i neighbours) {
    return _mm512_castsi512_ps(_mm512_rol_epi32(neighbours, 16));
  }
  static Vec together(__m256i first, __m256i second) {
    const __m512i upper = _mm512_slli_epi32(_mm512_cvtepu16_epi32(first), 16);
    return _mm512_castsi512_ps(_mm512_or_si512(upper, _mm512_cvtepu16_epi32(second)));
  }
};

}  // namespace
}  // namespace torchconv::cpu

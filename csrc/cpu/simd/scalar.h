// Scalars as the kernels see them: half types widened to float, one rounding on the way back, and a
// product that is fused on every machine. Plain C++, the same bits as the vector conversions.
#pragma once

#include <cstdint>
#include <type_traits>

#include "conv2d.h"

namespace torchconv::cpu {

inline float bfloat16_to_float(BFloat16 x) {
  return __builtin_bit_cast(float, (uint32_t)x.bits << 16);
}

// Round to nearest even; every NaN becomes the quiet NaN 0x7fc0.
inline BFloat16 float_to_bfloat16(float x) {
  if (x != x) return {0x7fc0};
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  return {(uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

inline float float16_to_float(Float16 x) {
  const uint32_t sign = (uint32_t)(x.bits & 0x8000) << 16;
  const uint32_t exponent = (x.bits >> 10) & 31, fraction = x.bits & 0x3ff;
  if (exponent == 31) {  // infinity, or a NaN made quiet
    const uint32_t quiet = fraction ? 0x400000 : 0;
    return __builtin_bit_cast(float, sign | 0x7f800000 | fraction << 13 | quiet);
  }
  if (exponent) return __builtin_bit_cast(float, sign | (exponent + 112) << 23 | fraction << 13);
  const float magnitude = (float)fraction * 0x1p-24f;  // zero or a half-precision denormal
  return __builtin_bit_cast(float, sign | __builtin_bit_cast(uint32_t, magnitude));
}

// Round to nearest even, overflow to infinity, as the hardware conversion does.
inline Float16 float_to_float16(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  const uint16_t sign = (uint16_t)((bits >> 16) & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return {(uint16_t)(sign | 0x7e00 | ((magnitude >> 13) & 0x3ff))};
  if (magnitude >= 0x477ff000) return {(uint16_t)(sign | 0x7c00)};
  if (magnitude < 0x38800000) {  // a half-precision denormal: align the fraction, then round
    if (magnitude < 0x33000000) return {sign};
    const uint32_t shift = 126 - (magnitude >> 23);
    const uint32_t fraction = (magnitude & 0x7fffff) | 0x800000;
    const uint32_t kept = fraction >> shift, rest = fraction & ((1u << shift) - 1);
    const uint32_t half = 1u << (shift - 1);
    const uint32_t up = rest > half || (rest == half && (kept & 1));
    return {(uint16_t)(sign | (kept + up))};
  }
  const uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
  return {(uint16_t)(sign | ((rounded - 0x38000000) >> 13))};
}

inline float to_compute(float x) {
  return x;
}
inline double to_compute(double x) {
  return x;
}
inline float to_compute(BFloat16 x) {
  return bfloat16_to_float(x);
}
inline float to_compute(Float16 x) {
  return float16_to_float(x);
}
inline void from_compute(float* p, float x) {
  *p = x;
}
inline void from_compute(double* p, double x) {
  *p = x;
}
inline void from_compute(BFloat16* p, float x) {
  *p = float_to_bfloat16(x);
}
inline void from_compute(Float16* p, float x) {
  *p = float_to_float16(x);
}
inline float fused(float a, float b, float c) {
  return __builtin_fmaf(a, b, c);
}
inline double fused(double a, double b, double c) {
  return __builtin_fma(a, b, c);
}

}  // namespace torchconv::cpu

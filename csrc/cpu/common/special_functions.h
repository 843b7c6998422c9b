// The exponential function and the normal distribution, for activations. Only operations that every level
// rounds alike, in a fixed order: the same bits on all of them.
//
// exp(-x) = 2^n exp(-rest) with n = round(-x / ln 2), ln 2 in two parts: Cody and Waite, "Software Manual
// for the Elementary Functions", 1980. The normal distribution F is a polynomial in the middle and beyond
// exp(-x^2 / 2) times a quotient of two, as in Cody, "Rational Chebyshev Approximations for the Error
// Function", Mathematics of Computation 23, 1969. The coefficients are our own: minimax of the relative
// error, by Remez's algorithm the polynomials and by Loeb's with Lawson's weights the quotients.
#pragma once

#include "cpu/simd/simd.h"

namespace torchconv::cpu {
namespace {

// Of polynomials, the highest power first.
template <class T>
struct Coefficients;

template <>
struct Coefficients<float> {
  // Where 1 + exp(-x) is infinite, and where it is 1 and exp(-x) almost denormal.
  static constexpr float kLeast = -89, kMost = 86.6f;
  // Added to a number it leaves its nearest integer n in the last bits, as the exponent of 2^(n - 1).
  static constexpr float kRounding = 0x1.8p23f + 126;
  static constexpr float kPerLog2 = 0x1.715476p+0f;
  static constexpr float kLog2 = 0x1.62e43p-1f, kLog2Rest = -0x1.05c61p-29f;
  // (exp(-x) - 1 + x) / x^2, |x| <= ln(2) / 2, to 3e-9 of exp(-x).
  static constexpr float kExp[] = {0.001381454f, -0.008368745f, 0.04166839f, -0.16666521f,
                                   0.49999994f};
  // (1 / 2 - F(x)) / x of x^2, |x| <= 1, to 7e-10.
  static constexpr float kMiddle[] = {7.654209e-06f, -0.00011348637f, 0.00118633f,
                                      -0.009973323f, 0.06649036f,     -0.3989423f};
  // 2 F(-x) exp(x^2 / 2), 1 <= x <= kFarthest, to 3e-8. Beyond, x F(-x) is denormal.
  static constexpr float kFarthest = 13.16f;
  static constexpr float kNumerator[] = {0.047895543f, 0.28414124f, 0.7947883f, 0.99961984f};
  static constexpr float kDenominator[] = {0.060030013f, 0.356033f, 1.05781f, 1.5907705f, 1.0f};
};

// The same to 4e-18, 3e-19 and 7e-17.
template <>
struct Coefficients<double> {
  static constexpr double kLeast = -710, kMost = 708;
  static constexpr double kRounding = 0x1.8p52 + 1022;
  static constexpr double kPerLog2 = 0x1.71547652b82fep+0;
  static constexpr double kLog2 = 0x1.62e42fefa39efp-1, kLog2Rest = 0x1.abc9e3b39803fp-56;
  static constexpr double kExp[] = {
      -2.50000169072554e-08,  2.763030631282898e-07, -2.755758680977615e-06, 2.4801492949460062e-05,
      -0.0001984126950576747, 0.0013888888943760127, -0.00833333333349498,   0.041666666666529725,
      -0.1666666666666641,    0.5000000000000011};
  static constexpr double kMiddle[] = {
      -4.0718456062666534e-12, 1.1063083871088294e-10, -2.270387225927662e-09,
      4.122407618103974e-08,   -6.659679655937986e-07, 9.44465578321177e-06,
      -0.00011543468751389464, 0.0011873282154676217,  -0.00997355701003499,
      0.06649038006690543,     -0.3989422804014327};
  static constexpr double kFarthest = 37.62;
  static constexpr double kNumerator[] = {
      2.8368594180569703e-05, 0.0005717457113020894, 0.005830461859652324,
      0.03788878919700239,    0.16920434073281887,   0.5285402057531977,
      1.1280832116446062,     1.5151583857786826,    1.0000000035702974};
  static constexpr double kDenominator[] = {3.5554760142148274e-05, 0.0007165769829496016,
                                            0.007342955033655744,   0.04820313225179642,
                                            0.21930247862287175,    0.7084804306434138,
                                            1.6116472575092438,     2.4736243653952106,
                                            2.313042977386096,      1.0};
};

template <class T, int kCount>
[[gnu::always_inline]] inline typename Simd<T>::Vec polynomial(const T (&coefficients)[kCount],
                                                               typename Simd<T>::Vec x) {
  using V = Simd<T>;
  typename V::Vec sum = V::broadcast(coefficients[0]);
#pragma GCC unroll 16
  for (int i = 1; i < kCount; ++i) sum = V::fma(sum, x, V::broadcast(coefficients[i]));
  return sum;
}

// exp(-x) = (1 + less_one) * 2 half_power; 2^n alone may be too large where exp(-x) is not.
template <class T>
struct Exponential {
  typename Simd<T>::Vec less_one, half_power;
};

// x in [kLeast, kMost].
template <class T>
[[gnu::always_inline]] inline Exponential<T> exp_of_minus(typename Simd<T>::Vec x) {
  using V = Simd<T>;
  using C = Coefficients<T>;
  using Vec = typename V::Vec;
  const Vec rounded = V::fma(x, V::broadcast(-C::kPerLog2), V::broadcast(C::kRounding));
  const Vec n = V::add(rounded, V::broadcast(-C::kRounding));
  const Vec rest = V::fma(n, V::broadcast(C::kLog2Rest), V::fma(n, V::broadcast(C::kLog2), x));
  const Vec linear = V::mul(rest, V::broadcast(-1)), square = V::mul(rest, rest);
  return {V::fma(square, polynomial(C::kExp, rest), linear), V::to_exponent(rounded)};
}

template <class T>
[[gnu::always_inline]] inline typename Simd<T>::Vec one_and_exp_of_minus(typename Simd<T>::Vec x) {
  using V = Simd<T>;
  using C = Coefficients<T>;
  using Vec = typename V::Vec;
  const Vec in_range = V::max(V::broadcast(C::kLeast), V::min(V::broadcast(C::kMost), x));
  const Exponential<T> exp = exp_of_minus<T>(in_range);
  const Vec half = V::add(exp.half_power, V::broadcast((T)0.5));
  const Vec half_sum = V::fma(exp.less_one, exp.half_power, half);
  return V::add(half_sum, half_sum);
}

// x F(x), that is x / 2 (1 + erf(x / sqrt(2))), with most of its digits also where F is small.
template <class T>
[[gnu::always_inline]] inline typename Simd<T>::Vec gelu(typename Simd<T>::Vec x) {
  using V = Simd<T>;
  using C = Coefficients<T>;
  using Vec = typename V::Vec;
  const Vec minus_one = V::broadcast(-1), minus_half = V::broadcast((T)-0.5);
  const Vec opposite = V::mul(x, minus_one), size = V::max(opposite, x);
  const Vec a = V::min(V::broadcast(C::kFarthest), size), square = V::mul(a, a);
  // All of -x F(x), so that a zero has the sign of x in the end.
  const Vec middle = V::fma(square, polynomial(C::kMiddle, square), V::mul(x, minus_half));
  // |x| F(-|x|) - max(x, 0); the latter as x - min(x, 0) is NaN at minus infinity, as in ATen.
  const Exponential<T> exp = exp_of_minus<T>(V::mul(square, V::broadcast((T)0.5)));
  const Vec factor = V::mul(a, V::add(exp.less_one, V::broadcast(1)));
  const Vec tail =
      V::div(V::mul(factor, polynomial(C::kNumerator, a)), polynomial(C::kDenominator, a));
  const Vec outside = V::fma(tail, exp.half_power, V::add(V::min(x, V::zero()), opposite));
  return V::mul(V::if_positive(V::add(size, minus_one), outside, middle), minus_one);
}

}  // namespace
}  // namespace torchconv::cpu

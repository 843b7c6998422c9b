// The sum of the squares of a row of numbers, in double and in an order that its length alone decides.
// No torch, no SIMD.
#pragma once

#include "cpu/simd/scalar.h"

namespace torchconv::cpu {

template <class S>
double sum_of_squares(const S* row, int64_t count) {
  constexpr int64_t kSums = 16;  // running, which a compiler puts into vectors
  double sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= count; i += kSums) {
    for (int64_t j = 0; j < kSums; ++j) {
      const double x = to_compute(row[i + j]);
      sums[j] += x * x;
    }
  }
  for (int64_t j = 0; i + j < count; ++j) {
    const double x = to_compute(row[i + j]);
    sums[j] += x * x;
  }
  for (int64_t half = kSums / 2; half > 0; half /= 2) {
    for (int64_t j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  return sums[0];
}

}  // namespace torchconv::cpu

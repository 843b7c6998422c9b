// What results become where they are stored: activation(result + residual), in place, while they are in
// the cache.
#pragma once

#include "cpu/common/special_functions.h"
#include "cpu/plan.h"

namespace torchconv::cpu {
namespace {

// Operations and their order are those of ATen, so that all but SiLU, GELU and sigmoid have its bits.
template <Activation kActivation, class T>
[[gnu::always_inline]] inline typename Simd<T>::Vec activated(typename Simd<T>::Vec x, T slope) {
  using V = Simd<T>;
  const typename V::Vec one = V::broadcast(1), six = V::broadcast(6);
  if constexpr (kActivation == Activation::kRelu) return V::max(V::zero(), x);
  if constexpr (kActivation == Activation::kRelu6) return V::min(six, V::max(V::zero(), x));
  if constexpr (kActivation == Activation::kSilu) return V::div(x, one_and_exp_of_minus<T>(x));
  if constexpr (kActivation == Activation::kHardswish) {
    const typename V::Vec gate = V::min(six, V::max(V::zero(), V::add(x, V::broadcast(3))));
    return V::div(V::mul(x, gate), six);
  }
  if constexpr (kActivation == Activation::kGelu) return gelu<T>(x);
  if constexpr (kActivation == Activation::kSigmoid) return V::div(one, one_and_exp_of_minus<T>(x));
  if constexpr (kActivation == Activation::kLeakyRelu) {
    return V::mul(x, V::if_positive(x, one, V::broadcast(slope)));
  }
  return x;
}

template <Activation kActivation, class S>
void activate_rows(const Task& task, S* at, int64_t rows, int64_t pitch, int64_t count) {
  using T = Compute<S>;
  using V = Simd<T>;
  const T slope = (T)task.slope;
  const S* residual = task.residual ? (const S*)task.residual + (at - (S*)task.result) : nullptr;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < count; i += V::kLanes) {
      const int64_t left = count - i;
      const bool whole = left >= V::kLanes;
      typename V::Vec x = whole ? V::load(at + i) : V::load_first(at + i, left);
      if (residual) {
        x = V::add(x, whole ? V::load(residual + i) : V::load_first(residual + i, left));
      }
      x = activated<kActivation>(x, slope);
      if (whole) {
        V::store(at + i, x);
      } else {
        V::store_first(at + i, x, left);
      }
    }
    at += pitch;
    if (residual) residual += pitch;
  }
}

// rows x count results of one call, which lie `pitch` apart from row to row in task.result: each becomes
// activation(result + residual).
template <class S>
[[gnu::noinline]] void activate(const Task& task, S* at, int64_t rows, int64_t pitch,
                                int64_t count) {
  if (pitch == count) count *= rows, rows = 1;
  switch (task.activation) {
    case Activation::kNone:
      return activate_rows<Activation::kNone>(task, at, rows, pitch, count);
    case Activation::kRelu:
      return activate_rows<Activation::kRelu>(task, at, rows, pitch, count);
    case Activation::kRelu6:
      return activate_rows<Activation::kRelu6>(task, at, rows, pitch, count);
    case Activation::kSilu:
      return activate_rows<Activation::kSilu>(task, at, rows, pitch, count);
    case Activation::kHardswish:
      return activate_rows<Activation::kHardswish>(task, at, rows, pitch, count);
    case Activation::kGelu:
      return activate_rows<Activation::kGelu>(task, at, rows, pitch, count);
    case Activation::kSigmoid:
      return activate_rows<Activation::kSigmoid>(task, at, rows, pitch, count);
    case Activation::kLeakyRelu:
      return activate_rows<Activation::kLeakyRelu>(task, at, rows, pitch, count);
  }
}

}  // namespace
}  // namespace torchconv::cpu

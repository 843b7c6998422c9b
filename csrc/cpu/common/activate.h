// What results become where they are stored: activation(result + residual), while they are in the cache.
#pragma once

#include "cpu/common/special_functions.h"
#include "cpu/common/tile_operands.h"
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

// The whole of what is to become of results, if register tiles can do that with the same bits.
inline Clamp clamp_of(const Task& task) {
  if (task.residual) return Clamp::kNone;
  return task.activation == Activation::kRelu    ? Clamp::kRelu
         : task.activation == Activation::kRelu6 ? Clamp::kRelu6
                                                 : Clamp::kNone;
}

template <Activation kActivation, class S>
void activate_rows(const Task& task, const S* from, int64_t from_pitch, S* at, int64_t rows,
                   int64_t pitch, int64_t count) {
  using T = Compute<S>;
  using V = Simd<T>;
  const T slope = (T)task.slope;
  const S* residual = task.residual ? (const S*)task.residual + (at - (S*)task.result) : nullptr;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < count; i += V::kLanes) {
      const int64_t left = count - i;
      const bool whole = left >= V::kLanes;
      typename V::Vec x = whole ? V::load(from + i) : V::load_first(from + i, left);
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
    from += from_pitch, at += pitch;
    if (residual) residual += pitch;
  }
}

// rows x count results of one call, which lie `pitch` apart from row to row in task.result: each becomes
// activation(sum + residual). The sums may lie there, too; elsewhere, the result may be the residual.
template <class S>
[[gnu::noinline]] void activate(const Task& task, const S* sums, int64_t sums_pitch, S* at,
                                int64_t rows, int64_t pitch, int64_t count) {
  if (pitch == count && sums_pitch == count) count *= rows, rows = 1;
  const auto run = [&](auto activation) {
    activate_rows<decltype(activation)::value>(task, sums, sums_pitch, at, rows, pitch, count);
  };
  switch (task.activation) {
    case Activation::kNone:
      return run(std::integral_constant<Activation, Activation::kNone>());
    case Activation::kRelu:
      return run(std::integral_constant<Activation, Activation::kRelu>());
    case Activation::kRelu6:
      return run(std::integral_constant<Activation, Activation::kRelu6>());
    case Activation::kSilu:
      return run(std::integral_constant<Activation, Activation::kSilu>());
    case Activation::kHardswish:
      return run(std::integral_constant<Activation, Activation::kHardswish>());
    case Activation::kGelu:
      return run(std::integral_constant<Activation, Activation::kGelu>());
    case Activation::kSigmoid:
      return run(std::integral_constant<Activation, Activation::kSigmoid>());
    case Activation::kLeakyRelu:
      return run(std::integral_constant<Activation, Activation::kLeakyRelu>());
  }
}

template <class S>
void activate(const Task& task, S* at, int64_t rows, int64_t pitch, int64_t count) {
  activate<S>(task, at, pitch, at, rows, pitch, count);
}

}  // namespace
}  // namespace torchconv::cpu

// From a number known when a layer runs to one known when it is compiled.
#pragma once

#include <cstdint>
#include <type_traits>

namespace torchconv::cpu {
namespace {

// f(std::integral_constant<int, n>()) for a number n from kLow to kHigh; a larger one counts as kHigh.
template <int kLow, int kHigh, class F>
[[gnu::always_inline]] inline auto dispatch_int(int64_t n, const F& f) {
  if constexpr (kLow < kHigh) {
    if (n != kHigh) return dispatch_int<kLow, kHigh - 1>(n, f);
  }
  return f(std::integral_constant<int, kHigh>());
}

}  // namespace
}  // namespace torchconv::cpu

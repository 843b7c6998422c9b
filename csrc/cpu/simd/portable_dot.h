// Sums of integers at the portable level: pairs of channels as 16 bits, in plain C++.
#pragma once

#include "cpu/simd/dot.h"

namespace torchconv::cpu {
namespace {

struct Dot {
  static constexpr int kLanes = 4, kTileRows = 4, kStep = 2, kOffset = 0;
  using Element = int16_t;
  struct Vec {
    uint32_t lane[kLanes];
  };

  static Vec load(const void* p) {
    Vec v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  }
  static void store(void* p, Vec v) { __builtin_memcpy(p, &v, sizeof(v)); }
  static Vec broadcast(const void* p) {
    uint32_t step;
    __builtin_memcpy(&step, p, sizeof(step));
    return {{step, step, step, step}};
  }
  static Vec add_products(Vec sum, Vec pixel, Vec weights) {
    int16_t a[2 * kLanes], b[2 * kLanes];
    __builtin_memcpy(a, &pixel, sizeof(a));
    __builtin_memcpy(b, &weights, sizeof(b));
    for (int i = 0; i < kLanes; ++i) {
      sum.lane[i] += (uint32_t)(a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1]);
    }
    return sum;
  }
};

}  // namespace
}  // namespace torchconv::cpu

// Sums of integers at the portable level: pairs of channels as 16 bits, in plain C++.
#pragma once

#include "cpu/simd/dot.h"

namespace torchconv::cpu {
namespace {

struct Dot {
  static constexpr int kLanes = 4, kTileRows = 4, kStep = 2, kOffset = 0;
  static constexpr int kOutputs = 2, kQuadVectors = 2;
  static constexpr bool kLoadsSpans = false;
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

  using Four = Vec;
  static Four four(Vec bytes) { return bytes; }
  static Four signed_four(Vec bytes) { return bytes; }
  static Vec add_fours(Vec sum, const Four& pixels, const Four& weights) {
    uint8_t a[4 * kLanes];
    int8_t b[4 * kLanes];
    __builtin_memcpy(a, &pixels, sizeof(a));
    __builtin_memcpy(b, &weights, sizeof(b));
    for (int i = 0; i < 4 * kLanes; ++i) sum.lane[i / 4] += (uint32_t)(a[i] * b[i]);
    return sum;
  }
  static void store_first(void* p, Vec v, int64_t count) {
    __builtin_memcpy(p, &v, (size_t)(4 * count));
  }
  static Vec pick(const void* p, int64_t count, Vec which, int flip) {
    Vec all{}, picked;
    __builtin_memcpy(&all, p, (size_t)(4 * count));
    for (int i = 0; i < kLanes; ++i) {
      picked.lane[i] = all.lane[which.lane[i]] ^ (uint32_t)flip * 0x01010101u;
    }
    return picked;
  }
  struct Window {
    int64_t step, apart;
  };
  static Window window(int64_t step, int64_t apart) { return {step, apart}; }
  static Vec windows(const char* p, const Window& window) {
    char quads[4 * kLanes];
    for (int i = 0; i < 4 * kLanes; ++i) quads[i] = p[i / 4 * window.step + i % 4 * window.apart];
    return load(quads);
  }
  static void pad_row(const uint8_t* from, int64_t begin, int64_t end, int64_t bytes, int flip,
                      char* out) {
    __builtin_memset(out, flip, (size_t)bytes);
    char* __restrict__ to = out + begin;
    for (int64_t i = 0; i < end - begin; ++i) to[i] = (char)(from[i] ^ flip);
  }
  static void interleave(const uint8_t* const (&rows)[4], int64_t count, int flip, char* out) {
    for (int64_t i = 0; i < count; ++i) {
      for (int j = 0; j < 4; ++j) out[4 * i + j] = (char)(rows[j][i] ^ flip);
    }
  }
};

}  // namespace
}  // namespace torchconv::cpu

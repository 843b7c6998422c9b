// Vectors of the portable level: four lanes in plain C++, every product fused by fma() so that the
// bits equal those of the other levels.
#pragma once

#include "cpu/simd/simd.h"

namespace torchconv::cpu {
namespace {

template <class T>
struct Simd {
  static constexpr int kLanes = 4;
  static constexpr int kRegisters = 16;
  static constexpr bool kStreams = false;
  struct Vec {
    T lane[kLanes];
  };

  static Vec zero() { return broadcast(0); }
  static Vec broadcast(T x) { return {{x, x, x, x}}; }
  static Vec fma(Vec a, Vec b, Vec c) {
    for (int i = 0; i < kLanes; ++i) c.lane[i] = fused(a.lane[i], b.lane[i], c.lane[i]);
    return c;
  }
  static Vec add(Vec a, Vec b) {
    for (int i = 0; i < kLanes; ++i) a.lane[i] += b.lane[i];
    return a;
  }
  static Vec mul(Vec a, Vec b) {
    for (int i = 0; i < kLanes; ++i) a.lane[i] *= b.lane[i];
    return a;
  }
  static Vec div(Vec a, Vec b) {
    for (int i = 0; i < kLanes; ++i) a.lane[i] /= b.lane[i];
    return a;
  }
  static Vec min(Vec a, Vec b) {
    for (int i = 0; i < kLanes; ++i) b.lane[i] = a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i];
    return b;
  }
  static Vec max(Vec a, Vec b) {
    for (int i = 0; i < kLanes; ++i) b.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i];
    return b;
  }
  static Vec if_positive(Vec x, Vec a, Vec b) {
    for (int i = 0; i < kLanes; ++i) b.lane[i] = x.lane[i] > 0 ? a.lane[i] : b.lane[i];
    return b;
  }
  static Vec to_exponent(Vec v) {
    using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
    for (int i = 0; i < kLanes; ++i) {
      const Bits bits = __builtin_bit_cast(Bits, v.lane[i]);
      v.lane[i] = __builtin_bit_cast(T, bits << (sizeof(T) == 4 ? 23 : 52));
    }
    return v;
  }
  static Vec held(Vec v) { return v; }
  // a0 a1 ... b0 b1 ... become a0 b0 a1 b1 ..., and back.
  static void interleave(Vec& a, Vec& b) {
    const Vec c = a, d = b;
    for (int i = 0; i < kLanes; ++i) {
      (i < kLanes / 2 ? a : b).lane[i * 2 % kLanes] = c.lane[i];
      (i < kLanes / 2 ? a : b).lane[i * 2 % kLanes + 1] = d.lane[i];
    }
  }
  static void deinterleave(Vec& a, Vec& b) {
    const Vec c = a, d = b;
    for (int i = 0; i < kLanes; ++i) {
      a.lane[i] = (i < kLanes / 2 ? c : d).lane[i * 2 % kLanes];
      b.lane[i] = (i < kLanes / 2 ? c : d).lane[i * 2 % kLanes + 1];
    }
  }
  static bool any_nan(Vec v) {
    bool any = false;
    for (int i = 0; i < kLanes; ++i) any |= v.lane[i] != v.lane[i];
    return any;
  }
  static Vec permute(Vec v, const int32_t* lanes) {
    Vec permuted;
    for (int i = 0; i < kLanes; ++i) permuted.lane[i] = v.lane[lanes[i]];
    return permuted;
  }
  static Vec permute(Vec a, Vec b, const int32_t* lanes) {
    Vec permuted;
    for (int i = 0; i < kLanes; ++i)
      permuted.lane[i] = (lanes[i] < kLanes ? a : b).lane[lanes[i] % kLanes];
    return permuted;
  }
  static Vec load_first(const T* p, int64_t count) {
    Vec v = zero();
    for (int i = 0; i < kLanes && i < count; ++i) v.lane[i] = p[i];
    return v;
  }
  // Conversions are long, and none of them is worth a copy wherever one is loaded or stored.
  template <class S>
  [[gnu::noinline]] static Vec load_first(const S* p, int64_t count) {
    Vec v = zero();
    for (int i = 0; i < kLanes && i < count; ++i) v.lane[i] = to_compute(p[i]);
    return v;
  }
  // The lanes [begin, end) from memory, 0 <= begin and end <= kLanes.
  struct Mask {
    int64_t begin, end;
  };
  static Mask lanes(int64_t begin, int64_t end) { return {begin, end}; }
  static Vec load_masked(const T* p, Mask mask) {
    Vec v = zero();
    for (int64_t i = mask.begin; i < mask.end; ++i) v.lane[i] = p[i];
    return v;
  }
  static void store_first(T* p, Vec v, int64_t count) {
    for (int i = 0; i < kLanes && i < count; ++i) p[i] = v.lane[i];
  }
  template <class S>
  [[gnu::noinline]] static void store_first(S* p, Vec v, int64_t count) {
    for (int i = 0; i < kLanes && i < count; ++i) from_compute(p + i, v.lane[i]);
  }
  template <class S>
  static Vec load(const S* p) {
    return load_first(p, kLanes);
  }
  template <class S>
  static void store(S* p, Vec v) {
    store_first(p, v, kLanes);
  }
  static void stream(T* p, Vec v) { store(p, v); }
  static void transpose(Vec (&m)[kLanes]) {
    for (int i = 0; i < kLanes; ++i) {
      for (int j = 0; j < i; ++j) {
        const T kept = m[i].lane[j];
        m[i].lane[j] = m[j].lane[i];
        m[j].lane[i] = kept;
      }
    }
  }
};

}  // namespace
}  // namespace torchconv::cpu

// The kernels in pairs of bfloat16 on any machine: the instruction in plain C++, four pairs at once.
#include "cpu/algorithms.h"
#include "cpu/simd/pairs.h"
#include "cpu/simd/portable.h"

namespace torchconv::cpu {
namespace {

template <>
struct Simd<Pair> {
  using Numbers = Simd<float>;
  static constexpr int kLanes = Numbers::kLanes, kRegisters = Numbers::kRegisters;
  using Vec = Numbers::Vec;

  template <class Row>
  using IfPairs = std::enable_if_t<std::is_same_v<typename ElementOf<Row>::type, Pair>, Vec>;

  static float as_number(uint32_t bits) { return __builtin_bit_cast(float, bits); }
  static uint32_t bits_of(float number) { return __builtin_bit_cast(uint32_t, number); }

  static Vec zero() { return Numbers::zero(); }
  static Vec add(Vec a, Vec b) { return Numbers::add(a, b); }
  static Vec held(Vec v) { return v; }
  static bool any_nan(Vec v) { return Numbers::any_nan(v); }
  static Vec permute(Vec v, const int32_t* lanes) { return Numbers::permute(v, lanes); }
  static Vec permute(Vec a, Vec b, const int32_t* lanes) { return Numbers::permute(a, b, lanes); }
  static Vec broadcast(float x) { return Numbers::broadcast(x); }
  static Vec broadcast(Pair x) { return Numbers::broadcast(as_number(x.bits)); }
  static Vec fma(Vec a, Vec b, Vec c) {
    for (int i = 0; i < kLanes; ++i) {
      const uint32_t x = bits_of(a.lane[i]), y = bits_of(b.lane[i]);
      const float first = fused(as_number(x & 0xffff0000), as_number(y & 0xffff0000), c.lane[i]);
      c.lane[i] = fused(as_number(x << 16), as_number(y << 16), first);
    }
    return c;
  }

  static Vec load(const float* p) { return Numbers::load(p); }
  static Vec load_first(const float* p, int64_t count) { return Numbers::load_first(p, count); }
  template <class Row>
  static IfPairs<Row> load(Row row) {
    return load_first(row, kLanes);
  }
  template <class Row>
  static IfPairs<Row> load_first(Row row, int64_t count) {
    Vec v = zero();
    for (int i = 0; i < kLanes && i < count; ++i) v.lane[i] = as_number(row[i].bits);
    return v;
  }
  static void store(float* p, Vec v) { Numbers::store(p, v); }
  static void store(BFloat16* p, Vec v) { Numbers::store(p, v); }
  static void store(BFloat16* p, Vec first, Vec second) {
    store(p, first);
    store(p + kLanes, second);
  }
  static void store(Pair* p, Vec v) { store_first(p, v, kLanes); }
  static void store_first(Pair* p, Vec v, int64_t count) {
    for (int i = 0; i < kLanes && i < count; ++i) p[i].bits = bits_of(v.lane[i]);
  }
  static void interleave(Vec& a, Vec& b) { Numbers::interleave(a, b); }
  static void deinterleave(Vec& a, Vec& b) { Numbers::deinterleave(a, b); }
  static void transpose(Vec (&m)[kLanes]) { Numbers::transpose(m); }
};

constexpr const Kernels& kBelow = kPortableKernels;

}  // namespace
}  // namespace torchconv::cpu

#include "cpu/isa/pairs.inc"

namespace torchconv::cpu {
const PairKernels kAvx512PairKernels = kPairKernels;
}  // namespace torchconv::cpu

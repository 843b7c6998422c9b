// Operands in pairs: two bfloat16 elements that one instruction (vdpbf16ps) multiplies and adds, one
// after the other,
//
//     a.second * b.second + (a.first * b.first + c),   each fused and rounded, denormals flushed
//
// which is what two steps of a chain do: the sums have the bits of the other levels. A pair is two
// neighbouring source channels. So a kernel in pairs computes a layer with half the channels, whose
// elements are pairs, and nowhere else knows of them than in how it reads its operands, as below. Of few
// channels a pair is two taps that follow each other (dense_channels/tap_steps.h), and in the weight gradient
// two pixels of a row (grad_weight/load_pairs.h).
#pragma once

#include "cpu/simd/scalar.h"

namespace torchconv::cpu {

// `first` lies in the upper half, where the instruction begins.
struct Pair {
  uint32_t bits;
};

inline Pair make_pair(BFloat16 first, BFloat16 second) {
  return {(uint32_t)first.bits << 16 | second.bits};
}
inline Pair to_compute(Pair x) {
  return x;
}

// A row of pairs of neighbouring elements.
struct NeighbourPairs {
  const BFloat16* data;
  NeighbourPairs operator+(int64_t i) const { return {data + 2 * i}; }
  Pair operator[](int64_t i) const { return make_pair(data[2 * i], data[2 * i + 1]); }
};

// The same of so many pairs whose last one is a single element and +0.
struct OddPairs {
  const BFloat16* data;
  int64_t pairs;
  OddPairs operator+(int64_t i) const { return {data + 2 * i, pairs - i}; }
  Pair operator[](int64_t i) const {
    return make_pair(data[2 * i], i + 1 < pairs ? data[2 * i + 1] : BFloat16{0});
  }
};

// A row of pairs whose second elements are a row of their own, `apart` elements further on.
struct RowPairs {
  const BFloat16* data;
  int64_t apart;
  RowPairs operator+(int64_t i) const { return {data + i, apart}; }
  Pair operator[](int64_t i) const { return make_pair(data[i], data[i + apart]); }
};

// A row of pairs whose second elements are +0.
struct LonePairs {
  const BFloat16* data;
  LonePairs operator+(int64_t i) const { return {data + i}; }
  Pair operator[](int64_t i) const { return make_pair(data[i], {0}); }
};

// Fetches where a row begins.
template <class S>
void prefetch_row(const S* row) {
  __builtin_prefetch(row);
}
inline void prefetch_row(NeighbourPairs row) {
  __builtin_prefetch(row.data);
}
inline void prefetch_row(LonePairs row) {
  __builtin_prefetch(row.data);
}
inline void prefetch_row(RowPairs row) {
  __builtin_prefetch(row.data);
  __builtin_prefetch(row.data + row.apart);
}

// What a row that is loaded consists of: the storage type, or pairs.
template <class Row>
struct ElementOf;
template <class S>
struct ElementOf<const S*> {
  using type = S;
};
template <class S>
struct ElementOf<S*> {
  using type = S;
};
template <>
struct ElementOf<NeighbourPairs> {
  using type = Pair;
};
template <>
struct ElementOf<RowPairs> {
  using type = Pair;
};
template <>
struct ElementOf<OddPairs> {
  using type = Pair;
};
template <>
struct ElementOf<LonePairs> {
  using type = Pair;
};

// What an element becomes when it is loaded: a number of the compute type, or the pair that it is.
template <class S>
struct OperandOf {
  using type = Compute<S>;
};
template <>
struct OperandOf<Pair> {
  using type = Pair;
};
template <class S>
using Operand = typename OperandOf<S>::type;

// As what operands A are loaded from a tensor of S.
template <class S, class A>
using LoadedAs = std::conditional_t<std::is_same_v<A, Pair>, Pair, S>;

// How rows of operands are found in a tensor of `Stored` elements, kChannels of them for each.
template <class S>
struct Reading {
  using Stored = S;
  static constexpr int64_t kChannels = 1;
  // Neighbouring channels, and one channel (or pair of channels) that others follow `apart` elements on.
  static const S* channels(const S* at) { return at; }
  static const S* row(const S* at, int64_t) { return at; }
};
template <>
struct Reading<Pair> {
  using Stored = BFloat16;
  static constexpr int64_t kChannels = 2;
  static NeighbourPairs channels(const BFloat16* at) { return {at}; }
  static RowPairs row(const BFloat16* at, int64_t apart) { return {at, apart}; }
};

}  // namespace torchconv::cpu

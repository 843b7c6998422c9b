// The vectors that kernels are written in: Simd<T>, T = float or double. Each file of isa/ includes the
// definition for its level, avx512.h, avx2.h or portable.h; kernels name only what all of them have:
//
//     kLanes, kRegisters       lanes of a vector; vectors that fit into registers
//     Vec, Mask                a vector; some of its lanes
//     zero(), broadcast(x), add(a, b), mul(a, b), div(a, b), fma(a, b, c)
//     min(a, b), max(a, b)     a < b ? a : b and a > b ? a : b: the second of two zeros, or where one is NaN
//     if_positive(x, a, b)     x > 0 ? a : b
//     to_exponent(v)           the last bits of v, moved to where a power of two has its exponent
//     load(p), store(p, v)     T itself, or a half type that is widened and rounded
//     stream(p, v)             T itself, past the caches, where p is as aligned as v is long; kStreams: not just stored
//     load_first(p, n), store_first(p, v, n), load_masked(p, m), lanes(begin, end)
//     held(v)                  v, kept in a register
//     transpose(square), interleave(a, b), deinterleave(a, b)
//     permute(v, lanes)        lane i becomes lane lanes[i] of v; float alone
//     permute(a, b, lanes)     the same of a and b, one after the other
//
// AVX-512 also has Half, vectors of half as many lanes (HalfOf in common/tile_operands.h).
//
// All of it has internal linkage: each file of isa/ has its own copy, compiled for its level.
#pragma once

#include "cpu/simd/scalar.h"

namespace torchconv::cpu {
namespace {

template <class T>
struct Simd;

// A block is 64 bytes of lanes, the same on every level: 16 floats or 8 doubles.
template <class T>
constexpr int64_t kLaneBlock = 64 / (int64_t)sizeof(T);

}  // namespace
}  // namespace torchconv::cpu

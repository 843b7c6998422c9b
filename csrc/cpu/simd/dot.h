// The vectors in which integers are summed, Dot: each 32-bit lane adds up products of neighbouring channels. Each
// file of isa/ includes the definition for its level, portable_dot.h, avx2_dot.h, avx512_dot.h or vnni_dot.h:
//
//     kLanes, kTileRows        32-bit lanes of a vector; pixels of a register tile two vectors wide
//     Element, kStep           what a patch and packed weights are made of, 32 / kStep bits; elements of a step
//     kOffset                  what is added to int8 so that it becomes an Element; 0 where none is
//     Vec, load(p), store(p, v), broadcast(p)    a vector from memory, or one step of a pixel in all lanes
//     add_products(sum, pixel, weights)          lane i: sum[i] + the sum over j of pixel[j] * weights[i][j]
//
// Sums are modulo 2^32, and exact where their value fits into 32 bits: none of them saturates on the way.
#pragma once

#include <cstdint>

namespace torchconv::cpu {
namespace {

struct Dot;

}  // namespace
}  // namespace torchconv::cpu

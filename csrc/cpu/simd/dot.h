// The vectors in which integers are summed, Dot: each 32-bit lane adds up products of neighbouring channels. Each
// file of isa/ includes the definition for its level, portable_dot.h, avx2_dot.h, avx512_dot.h or vnni_dot.h:
//
//     kLanes, kTileRows        32-bit lanes of a vector; pixels of a register tile two vectors wide
//     Element, kStep           what a patch and packed weights are made of, 32 / kStep bits; elements of a step
//     kOffset                  what is added to int8 so that it becomes an Element; 0 where none is
//     Vec, load(p), store(p, v), broadcast(p)    a vector from memory, or one step of a pixel in all lanes
//     add_products(sum, pixel, weights)          lane i: sum[i] + the sum over j of pixel[j] * weights[i][j]
//     kOutputs, kQuadVectors   sums of a tile of quads (integer/quads.h)
//     Four, four(v), signed_four(v), add_fours(sum, pixels, weights)
//                              lane i: sum[i] + the sum of four products of bytes, unsigned times signed
//     store_first(p, v, n), pick(p, n, which, flip)    the first lanes; lane i: which[i] of n groups of 4 bytes at p
//     interleave(rows, n, flip, out)                   out[i] = the four bytes rows[j][i], each ^ flip
//     Window, window(step, apart), windows(p, window)  lane i: the bytes p[i * step + j * apart]
//     kLoadsSpans              whether any bytes of a vector are loaded alone: integer/planes.h
//     pad_row(from, begin, end, n, flip, out)          bytes [begin, end) of out; 0 before and after; each ^ flip
//
// Sums are modulo 2^32, and exact where their value fits into 32 bits: none of them saturates on the way.
#pragma once

#include <cstddef>
#include <cstdint>

namespace torchconv::cpu {
namespace {

struct Dot;

}  // namespace
}  // namespace torchconv::cpu

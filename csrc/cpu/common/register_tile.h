// The inner loop of every dense kernel: a register tile of sums
//
//     sum over i of a(i, m) * b(i, j),   m < rows, j < columns
//
// each a sum of partial sums, which are chains of fused multiply-adds in the order of the steps. They
// are added up in c, one after the other, so that the rounding error grows with the length of a
// partial sum and not with that of the whole (sum_order.h). a is broadcast and b is
// read as vectors along j. Operands are found through tables of offsets, which is how taps, padding
// patches and strides are walked without copying:
//
//     Steps::kTableA    a(i, m) = a[offset[i] + m * a_row]    b(i, j) = b[i * step + j]
//     Steps::kTableB    a(i, m) = a[i * step + m]             b(i, j) = b[offset[i] + j]
//     Steps::kTables    a(i, m) = a[offset[i] + m * a_row]    b(i, j) = b[b_offset[i] + j]
//
// The tile's size enters no sum, so it may differ from level to level (8x48 floats fill the 32
// registers of AVX-512, 6x16 the 16 of AVX2).
#pragma once

#include "cpu/common/dispatch.h"
#include "cpu/common/element.h"
#include "cpu/common/partial_sums.h"
#include "cpu/common/prefetch.h"
#include "cpu/simd/pairs.h"
#include "cpu/simd/simd.h"

namespace torchconv::cpu {
namespace {

enum class Steps { kTableA, kTableB, kTables };
enum class Sum { kStart, kAdd };  // the first partial sum is stored to c, or added to it

// Where a tile of pairs stores its sums once they are whole, rounded, in the place of c, if not null;
// Steps::kTableA alone.
template <class T>
struct RoundedResult {
  void round_from(int64_t, int64_t) {}
};
template <>
struct RoundedResult<Pair> {
  BFloat16* rounded = nullptr;
  int64_t rounded_row = 0;

  // The tile goes on so many rows further down and lanes further right.
  void round_from(int64_t rows, int64_t lanes) {
    if (rounded) rounded += rows * rounded_row + lanes;
  }
};

// T: the operands, numbers or pairs of them; sums are kept in Compute<T>.
template <class T>
struct Tile : RoundedResult<T> {
  PartialSums partials;
  const T* a;
  int64_t a_row = 0;  // not kTableB
  const T* b;
  int64_t step = 0;  // not kTables
  const int64_t* offset;
  const int64_t* b_offset = nullptr;  // kTables only
  Compute<T>* c;
  int64_t c_row;
  Sum sum;
  // Added after the last step, where not null.
  const Compute<T>* lane_bias = nullptr;  // [j]
  const Compute<T>* row_bias = nullptr;   // [m]
};

// What is read after a tile and lies beyond the L2 cache: so many elements for each row of the tile are
// fetched into it while they are summed. No part of Tile: with more members, layers of few sums took
// up to a tenth longer.
template <class T>
struct Ahead {
  const T* data = nullptr;
  int64_t row = 0;

  Ahead after(int64_t rows) const { return {data + rows * row, row}; }
};

// -0 becomes +0, to which the first partial sum is added for that reason: a product too small for a
// float leaves -0 behind, a tap of padding that is multiplied turns it into +0 and one that is left
// out does not, and which are left out may depend on the batch and on the level.
template <class V>
inline typename V::Vec without_sign_of_zero(typename V::Vec sum) {
  return V::add(sum, V::zero());
}

// Where a tile will store its sums: lines that have left the caches come back while it is summed.
template <int kRows, int kVecs, class T>
inline void prefetch_sums(T* sums, int64_t row, int64_t lanes) {
#pragma GCC unroll 32
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
    for (int v = 0; v < kVecs; ++v) __builtin_prefetch(sums + m * row + v * lanes, 1);
  }
}

// `tiles` tiles side by side, along j with kTableB, else along m: the end of one overlaps with the
// beginning of the next, which a tile of few steps needs.
template <class T, Steps kSteps, int kRows, int kVecs>
[[gnu::noinline]] void tile_kernel(const Tile<T>& t, int64_t tiles, Ahead<T> ahead) {
  using V = Simd<T>;
  constexpr bool kAlongB = kSteps == Steps::kTableB;
  constexpr int64_t kLanes = V::kLanes;
  const int64_t step = t.step, row1 = t.a_row, c_row = t.c_row;
  const int64_t row3 = row1 * 3, row5 = row1 * 5, row7 = row1 * 7;
  const T* a = t.a;
  const T* b = t.b;
  const Compute<T>* row_bias = t.row_bias;
  Compute<T>* c = t.c;
  RoundedResult<T> result = t;

  for (; tiles > 0; --tiles) {
    const int64_t *offset = t.offset, *b_offset = t.b_offset;
    const T* along = kAlongB ? a : b;
    bool start = t.sum == Sum::kStart;
    if constexpr (std::is_same_v<T, Pair> && kSteps == Steps::kTableA) {
      if (result.rounded)
        prefetch_sums<kRows, kVecs>(result.rounded, result.rounded_row, kLanes);
      else if (start)
        prefetch_sums<kRows, kVecs>(c, c_row, kLanes);
    } else if constexpr (kSteps != Steps::kTables) {
      if (start) prefetch_sums<kRows, kVecs>(c, c_row, kLanes);
    }
    if constexpr (!kAlongB) {
      prefetch_span(ahead.data, kRows * ahead.row);
      ahead = ahead.after(kRows);
    }
    for (int64_t partial = t.partials.count; partial > 0; --partial) {
      const TapBox& taps = partial == 1 ? t.partials.last : t.partials.each;
      typename V::Vec sum[kRows][kVecs];
#pragma GCC unroll 32
      for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) sum[m][v] = V::zero();
      }
      for (int64_t c_block = taps.c_blocks; c_block > 0; --c_block) {
        for (int64_t row = taps.rows; row > 0; --row) {
          const int64_t steps = taps.steps;
          for (int64_t i = 0; i < steps; ++i) {
            const T* const ai = kAlongB ? along + i * step : a + offset[i];
            const T* const bi = kAlongB                    ? b + offset[i]
                                : kSteps == Steps::kTableA ? along + i * step
                                                           : b + b_offset[i];
            typename V::Vec x[kVecs];
#pragma GCC unroll 8
            for (int v = 0; v < kVecs; ++v) x[v] = V::load(bi + v * kLanes);
#pragma GCC unroll 32
            for (int m = 0; m < kRows; ++m) {
              // Spelled so that eight rows need four registers of addresses.
              const T* am = ai + m;
              if constexpr (!kAlongB) {
                const T* const a8 = m < 8 ? ai : ai + 8 * row1;
                am = m % 8 == 3   ? a8 + row3
                     : m % 8 == 5 ? a8 + row5
                     : m % 8 == 6 ? a8 + 2 * row3
                     : m % 8 == 7 ? a8 + row7
                                  : a8 + m % 8 * row1;
              }
              const typename V::Vec y = V::broadcast(*am);
#pragma GCC unroll 8
              for (int v = 0; v < kVecs; ++v) sum[m][v] = V::fma(y, x[v], sum[m][v]);
            }
          }
          offset += steps + taps.row_gap;
          if constexpr (kSteps == Steps::kTables) b_offset += steps + taps.row_gap;
          along += (steps + taps.row_gap) * step;
        }
        offset += taps.block_gap;
        if constexpr (kSteps == Steps::kTables) b_offset += taps.block_gap;
        along += taps.block_gap * step;
      }
#pragma GCC unroll 32
      for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) {
          Compute<T>* const at = c + m * c_row + v * kLanes;
          sum[m][v] = V::add(start ? V::zero() : V::load(at), sum[m][v]);
          if (partial == 1) {
            if (t.lane_bias) sum[m][v] = V::add(sum[m][v], V::load(t.lane_bias + v * kLanes));
            if (row_bias) sum[m][v] = V::add(sum[m][v], V::broadcast(row_bias[m]));
          }
          if constexpr (std::is_same_v<T, Pair> && kSteps == Steps::kTableA) {
            if (partial == 1 && result.rounded) {
              Simd<Compute<T>>::store(result.rounded + m * result.rounded_row + v * kLanes,
                                      sum[m][v]);
              continue;
            }
          }
          V::store(at, sum[m][v]);
        }
      }
      start = false;
    }
    result.round_from(kRows, 0);
    a += kAlongB ? 0 : kRows * row1;
    b += kAlongB ? kVecs * kLanes : 0;
    c += kAlongB ? kVecs * kLanes : kRows * c_row;
    if (!kAlongB && row_bias) row_bias += kRows;
  }
}

template <class T, Steps kSteps, int kVecs, int kRows>
void tile_rows(const Tile<T>& t, int64_t rows, int64_t tiles, const Ahead<T>& ahead = {}) {
  dispatch_int<1, kRows>(
      rows, [&](auto count) { tile_kernel<T, kSteps, count.value, kVecs>(t, tiles, ahead); });
}

// Blocks of lanes that a register tile takes at once. Tiles run along the rows while their `b` is
// in the L1 cache, so these lanes should lie together.
template <class T>
constexpr int64_t kSlabBlocks = Simd<T>::kRegisters == 32 ? kPanelBlocks : 1;

// rows x kVecs vectors, any number of rows, in tiles of at most kRows and about equal height.
template <class T, Steps kSteps, int kVecs, int kRows>
void tiles_of_rows(const Tile<T>& t, int64_t rows, const Ahead<T>& ahead) {
  const int64_t tiles = (rows + kRows - 1) / kRows, height = (rows + tiles - 1) / tiles;
  const int64_t shorter = tiles * height - rows, taller = tiles - shorter;
  tile_rows<T, kSteps, kVecs, kRows>(t, height, taller, ahead);
  if (!shorter) return;
  Tile<T> part = t;
  part.a += taller * height * t.a_row;
  part.c += taller * height * t.c_row;
  part.round_from(taller * height, 0);
  if (part.row_bias) part.row_bias += taller * height;
  tile_rows<T, kSteps, kVecs, kRows>(part, height - 1, shorter, ahead.after(taller * height));
}

// rows x lanes sums, any number of rows, lanes <= kSlabBlocks<T> * kLaneBlock<T>; not kTableB. The last
// vector is computed and stored as a whole; whoever minds calls with whole vectors.
template <class T, Steps kSteps>
void run_rows(const Tile<T>& t, int64_t rows, int64_t lanes, const Ahead<T>& ahead = {}) {
  constexpr int64_t kLanes = Simd<T>::kLanes;
  if constexpr (Simd<T>::kRegisters == 32) {
    if (lanes > 2 * kLanes) return tiles_of_rows<T, kSteps, 3, 8>(t, rows, ahead);
    if (lanes > kLanes) return tiles_of_rows<T, kSteps, 2, 12>(t, rows, ahead);
    return tiles_of_rows<T, kSteps, 1, 16>(t, rows, ahead);
  } else {
    for (int64_t lane = 0; lane < lanes; lane += 2 * kLanes) {
      Tile<T> part = t;
      part.b += lane;
      part.c += lane;
      part.round_from(0, lane);
      const Ahead<T> once = lane ? Ahead<T>{} : ahead;
      if (part.lane_bias) part.lane_bias += lane;
      if (lanes - lane <= kLanes) return tiles_of_rows<T, kSteps, 1, 8>(part, rows, once);
      tiles_of_rows<T, kSteps, 2, 6>(part, rows, once);
    }
  }
}

// rows x vecs vectors, any number of them, in tiles of at most kRows x kVecs.
template <class T, int kVecs, int kRows>
void tiles_of_blocks(const Tile<T>& t, int64_t rows, int64_t vecs) {
  const int64_t passes = (rows + kRows - 1) / kRows, tiles = vecs / kVecs;
  for (int64_t pass = 0; pass < passes; ++pass) {
    const int64_t m = pass * rows / passes, count = (pass + 1) * rows / passes - m;
    Tile<T> part = t;
    part.a += m;
    part.c += m * t.c_row;
    if (part.row_bias) part.row_bias += m;
    if (tiles) tile_rows<T, Steps::kTableB, kVecs, kRows>(part, count, tiles);
    part.b += tiles * kVecs * Simd<T>::kLanes;
    part.c += tiles * kVecs * Simd<T>::kLanes;
    if (kVecs > 2 && vecs % kVecs == 2) tile_rows<T, Steps::kTableB, 2, kRows>(part, count, 1);
    if (kVecs > 1 && vecs % kVecs == 1) tile_rows<T, Steps::kTableB, 1, kRows>(part, count, 1);
  }
}

// rows x (blocks * kLaneBlock<T>) sums of Steps::kTableB, rows <= kTileRows, any number of blocks.
template <class T>
void run_blocks(const Tile<T>& t, int64_t rows, int64_t blocks) {
  const int64_t vecs = blocks * (kLaneBlock<T> / Simd<T>::kLanes);
  if constexpr (Simd<T>::kRegisters == 32) {
    tiles_of_blocks<T, 3, 8>(t, rows, vecs);
  } else if (rows == 5 || rows == 6) {
    tiles_of_blocks<T, 2, 6>(t, rows, vecs);
  } else {
    tiles_of_blocks<T, 3, 4>(t, rows, vecs);
  }
}

constexpr int64_t kTileRows = 8;  // what callers of run_blocks cut their rows into

}  // namespace
}  // namespace torchconv::cpu

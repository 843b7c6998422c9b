// Register tiles over any number of rows and as many lanes as a slab has.
#pragma once

#include "cpu/common/dispatch.h"
#include "cpu/common/register_tile.h"

namespace torchconv::cpu {
namespace {

template <class T, Steps kSteps, int kVecs, int kRows, bool kHalf = false>
void tile_rows(const Tile<T>& t, int64_t rows, const Tiles& tiles, const Ahead<T>& ahead = {}) {
  dispatch_int<1, kRows>(rows, [&](auto count) {
    tile_kernel<T, kSteps, count.value, kVecs, kHalf>(t, tiles, ahead);
  });
}

// Blocks of lanes that a register tile takes at once. Tiles run along the rows while their `b` is
// in the L1 cache, so these lanes should lie together.
template <class T>
constexpr int64_t kSlabBlocks = Simd<T>::kRegisters == 32 ? kPanelBlocks : 1;

// rows x kVecs vectors, any number of rows, in tiles of at most kRows and about equal height.
template <class T, Steps kSteps, int kVecs, int kRows, bool kHalf = false>
[[gnu::always_inline]] inline void tiles_of_rows(const Tile<T>& t, int64_t rows, Ahead<T> ahead,
                                                 const Below& below) {
  const int64_t tiles = (rows + kRows - 1) / kRows, height = (rows + tiles - 1) / tiles;
  const int64_t shorter = tiles * height - rows, taller = tiles - shorter;
  Tile<T> part = t;
  const auto skip = [&](int64_t count) {
    part.a += count * t.a_row;
    part.c += count * t.c_row;
    part.round_from(count, 0);
    if (part.row_bias) part.row_bias += count;
  };
  if (below.count > 1) {  // one column of tiles after the other
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t count = height - (i >= taller);
      tile_rows<T, kSteps, kVecs, kRows, kHalf>(
          part, count, {below.count, below.a, below.c, below.rounded}, ahead);
      ahead = ahead.after(count * below.count);
      skip(count);
    }
    return;
  }
  const auto side_by_side = [&](int64_t count, int64_t rows, const Ahead<T>& ahead) {
    const Tiles next = {count, rows * t.a_row, rows * t.c_row, rows * t.rounded_row};
    tile_rows<T, kSteps, kVecs, kRows, kHalf>(part, rows, next, ahead);
  };
  side_by_side(taller, height, ahead);
  if (!shorter) return;
  skip(taller * height);
  side_by_side(shorter, height - 1, ahead.after(taller * height));
}

// Of so many lanes or a multiple of them run_rows with kHalves stores no others.
template <class T>
constexpr int64_t kStoredLanes =
    std::is_void_v<typename HalfOf<Simd<T>>::type> ? Simd<T>::kLanes : Simd<T>::kLanes / 2;

// Tiles of one vector: kNeighbours takes 0.55 to 0.9 of the time of kTableA, kRuns 0.7 to 0.97, a matrix with a pointer
// for each row 0.63 to 0.95, the less the busier the other thread of the core is (Sapphire Rapids).
template <class T, Steps kSteps, bool kHalf = false>
[[gnu::always_inline]] inline void tiles_of_one(const Tile<T>& t, int64_t rows, Ahead<T> ahead,
                                                const Below& below) {
  if constexpr (kMatrixTiles<T> && kSteps == Steps::kTableA && !kHalf) {
    if (t.a_row == 1) return tiles_of_rows<T, Steps::kNeighbours, 1, 28>(t, rows, ahead, below);
    if (t.run) return tiles_of_rows<T, Steps::kRuns, 1, 12>(t, rows, ahead, below);
  }
  constexpr int kRows = kSteps == Steps::kMatrix ? 12 : 16;
  tiles_of_rows<T, kSteps, 1, kRows, kHalf>(t, rows, ahead, below);
}

// rows x lanes sums, any number of rows, lanes <= kSlabBlocks<T> * kLaneBlock<T>; not kTableB. The last vector is
// computed and stored as a whole, with kHalves its first half if that is enough; whoever minds calls with whole ones.
template <class T, Steps kOf, bool kHalves = false>
void run_rows(const Tile<T>& t, int64_t rows, int64_t lanes, const Ahead<T>& ahead = {},
              const Below& below = {}) {
  constexpr int64_t kLanes = Simd<T>::kLanes;
  constexpr Steps kSteps = kMatrixTiles<T>             ? kOf
                           : kOf == Steps::kMatrix     ? Steps::kTableA
                           : kOf == Steps::kTransposed ? Steps::kTables
                                                       : kOf;
  if constexpr (Simd<T>::kRegisters == 32) {
    if constexpr (kHalves && kStoredLanes<T> < kLanes) {
      const int64_t rest = lanes % kLanes;
      if (rest && rest <= kStoredLanes<T>) {
        if (lanes > 3 * kLanes) return tiles_of_rows<T, kSteps, 4, 6, true>(t, rows, ahead, below);
        if (lanes > 2 * kLanes) return tiles_of_rows<T, kSteps, 3, 8, true>(t, rows, ahead, below);
        if (lanes > kLanes) return tiles_of_rows<T, kSteps, 2, 12, true>(t, rows, ahead, below);
        return tiles_of_one<T, kSteps, true>(t, rows, ahead, below);
      }
    }
    if (lanes > 3 * kLanes) return tiles_of_rows<T, kSteps, 4, 6>(t, rows, ahead, below);
    if (lanes > 2 * kLanes) return tiles_of_rows<T, kSteps, 3, 8>(t, rows, ahead, below);
    if (lanes > kLanes) return tiles_of_rows<T, kSteps, 2, 12>(t, rows, ahead, below);
    return tiles_of_one<T, kSteps>(t, rows, ahead, below);
  } else {
    for (int64_t lane = 0; lane < lanes; lane += 2 * kLanes) {
      Tile<T> part = t;
      part.b += lane;
      part.c += lane;
      part.round_from(0, lane);
      const Ahead<T> once = lane ? Ahead<T>{} : ahead;
      if (part.lane_bias) part.lane_bias += lane;
      if (lanes - lane <= kLanes) return tiles_of_rows<T, kSteps, 1, 8>(part, rows, once, below);
      tiles_of_rows<T, kSteps, 2, 6>(part, rows, once, below);
    }
  }
}

}  // namespace
}  // namespace torchconv::cpu

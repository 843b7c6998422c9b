// Register tiles of Steps::kTableB over any number of lane blocks.
#pragma once

#include "cpu/common/run_rows.h"

namespace torchconv::cpu {
namespace {

// rows x vecs vectors, any number of them, in tiles of at most kRows x kVecs.
template <class T, int kVecs, int kRows>
void tiles_of_blocks(const Tile<T>& t, int64_t rows, int64_t vecs, bool fetches) {
  const int64_t passes = (rows + kRows - 1) / kRows, tiles = vecs / kVecs;
  for (int64_t pass = 0; pass < passes; ++pass) {
    const int64_t m = pass * rows / passes, count = (pass + 1) * rows / passes - m;
    Tile<T> part = t;
    part.a += m;
    part.c += m * t.c_row;
    if (part.row_bias) part.row_bias += m;
    const auto along = [](int64_t tiles, int64_t vecs) {
      return Tiles{tiles, 0, vecs * Simd<T>::kLanes, 0};
    };
    const Ahead<T> ahead = {nullptr, fetches ? 2 * kVecs * Simd<T>::kLanes : 0};
    if (tiles) tile_rows<T, Steps::kTableB, kVecs, kRows>(part, count, along(tiles, kVecs), ahead);
    part.b += tiles * kVecs * Simd<T>::kLanes;
    part.c += tiles * kVecs * Simd<T>::kLanes;
    if (kVecs > 2 && vecs % kVecs == 2)
      tile_rows<T, Steps::kTableB, 2, kRows>(part, count, along(1, 2));
    if (kVecs > 1 && vecs % kVecs == 1)
      tile_rows<T, Steps::kTableB, 1, kRows>(part, count, along(1, 1));
  }
}

// rows x (blocks * kLaneBlock<T>) sums of Steps::kTableB, rows <= kTileRows, any number of blocks. `fetches`:
// what a step reads lies far from what the one before it does, and nowhere near a cache. With AVX2 tiles ask for the
// lanes of the next one but one: 1x1 layers of 112 x 112 take 0.65 to 0.97 of the time, kernels of more taps 1.03 to
// 1.08 (Zen 3). Tiles of AVX-512 are wider.
template <class T>
void run_blocks(const Tile<T>& t, int64_t rows, int64_t blocks, bool fetches = false) {
  const int64_t vecs = blocks * (kLaneBlock<T> / Simd<T>::kLanes);
  if constexpr (Simd<T>::kRegisters == 32) {
    tiles_of_blocks<T, 3, 8>(t, rows, vecs, fetches);
  } else if (rows == 5 || rows == 6 || t.sum == Sum::kStream) {
    tiles_of_blocks<T, 2, 6>(t, rows, vecs, fetches);
  } else {
    tiles_of_blocks<T, 3, 4>(t, rows, vecs, fetches);
  }
}

constexpr int64_t kTileRows = 8;  // what callers of run_blocks cut their rows into

}  // namespace
}  // namespace torchconv::cpu

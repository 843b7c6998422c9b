// The most frequent windows (quads.h) where planes.h does not apply: of a kernel with three rows, stride 1 or 2 and
// one source channel. Its three quads of weights stay in registers, and each source row is multiplied by those only
// that an output row has for it.
#pragma once

#include "cpu/common/dispatch.h"
#include "cpu/integer/quad_tile.h"

namespace torchconv::cpu {
namespace {

constexpr int kThreeRows = 3;

template <int kShift, int kOutputs, int kVectors>
void sum_three_rows(const QuadTile& tile) {
  Dot::Vec sums[kOutputs][kVectors];
  Dot::Four weights[kThreeRows];
  const Dot::Vec start = Dot::broadcast(tile.starts);
#pragma GCC unroll 4
  for (int i = 0; i < kOutputs; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[i][v] = start;
  }
  // Those of the first output row.
#pragma GCC unroll 3
  for (int r = 0; r < kThreeRows; ++r)
    weights[r] = Dot::signed_four(Dot::broadcast(tile.weights + r * tile.weight_step));
#pragma GCC unroll 9
  for (int row = 0; row < (kOutputs - 1) * kShift + kThreeRows; ++row) {
    const char* const pixels = tile.pixels + tile.offsets[row];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const Dot::Four four = Dot::four(Dot::windows(pixels + v * tile.pixels_apart, tile.window));
#pragma GCC unroll 4
      for (int i = 0; i < kOutputs; ++i) {
        const int r = row - i * kShift;
        if (r >= 0 && r < kThreeRows) sums[i][v] = Dot::add_fours(sums[i][v], four, weights[r]);
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kOutputs; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store_quads<false>(tile, i, v, sums[i][v]);
  }
}

template <int kShift>
void sum_three_rows(const QuadTile& tile, int64_t outputs, int64_t vectors) {
  dispatch_int<1, Dot::kOutputs>(outputs, [&](auto count) {
    dispatch_int<1, Dot::kQuadVectors>(
        vectors, [&](auto wide) { sum_three_rows<kShift, count.value, wide.value>(tile); });
  });
}

}  // namespace
}  // namespace torchconv::cpu

// Pixels that are evenly spaced in both operands: of these a register tile needs no tables.
#pragma once

#include "cpu/common/run_rows.h"

namespace torchconv::cpu {
namespace {

struct EvenPixels {
  int64_t count, a_step = 0, b_step = 0;  // no steps: the pixels are not even

  template <class A>
  EvenPixels(const Tile<A>& tile, int64_t pixels) : count(pixels) {
    if (!kMatrixTiles<A> || pixels < 2) return;
    const int64_t *const a = tile.offset, *const b = tile.b_offset;
    bool even = true;
    for (int64_t i = 2; i < pixels; ++i)
      even &= a[i] - a[i - 1] == a[1] - a[0] && b[i] - b[i - 1] == b[1] - b[0];
    if (even) a_step = a[1] - a[0], b_step = b[1] - b[0];
  }

  // Whether a tile takes all of them, with these steps.
  template <class A>
  bool are_matrix(const Tile<A>& tile, Steps steps) const {
    const bool fits = steps == Steps::kTransposed ? tile.a_row == 1 : a_step == 1;
    return fits && a_step && tile.partials.last.steps == count;
  }

  // The same tile without tables.
  template <class A>
  Tile<A> matrix(Tile<A> tile) const {
    tile.a += tile.offset[0], tile.b += tile.b_offset[0];
    tile.a_step = a_step, tile.step = b_step;
    return tile;
  }
};

}  // namespace
}  // namespace torchconv::cpu

// Where Winograd's tiles are along one axis of the destination. No torch, no SIMD.
//
// Destinations that are a dilation apart see sources that are: each residue of the coordinates modulo the
// dilation is a convolution without one. Their tiles take turns, so that neighbours in number are neighbours
// in memory. With tiles of two and a dilation of three:
//
//     destination   0 1 2 3 4 5   6 7 8 9 10 11   12 13
//     tile          0 1 2 0 1 2   3 4 5 3  4  5    6  7
#pragma once

#include "cpu/common/arithmetic.h"
#include "cpu/winograd/filtering.h"

namespace torchconv::cpu {

struct TileAxis {
  int64_t size;  // of the destination
  int64_t tile;  // destinations of a tile
  int64_t step;  // from one to the next: the dilation

  int64_t count() const {
    const int64_t block = tile * step;
    return size / block * step + smaller(step, size % block);
  }
  int64_t first(int64_t index) const {
    return step == 1 ? index * tile : index / step * step * tile + index % step;
  }
  // Those of a tile's destinations that exist.
  int64_t length(int64_t index) const { return smaller(tile, ceil_div(size - first(index), step)); }
  // Source coordinates from the first tile's to those of a tile that is `distance` destinations further.
  static int64_t in_source(int64_t distance, const AxisSizes& sizes) {
    return distance * sizes.advance / sizes.tile;
  }
  // Source coordinates that `count` tiles in a row see at most.
  int64_t span(int64_t count, const AxisSizes& sizes) const {
    const int64_t last = count - 1 + ceil_div(count - 1, step) * step * (tile - 1);
    return in_source(last, sizes) + (sizes.reach - 1) * step + 1;
  }
};

}  // namespace torchconv::cpu

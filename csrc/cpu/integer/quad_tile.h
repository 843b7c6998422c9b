// What the inner loops over quads (quads.h) are given, and how they store.
#pragma once

#include "cpu/simd/dot.h"

namespace torchconv::cpu {
namespace {

// Sums that share loads: outputs x vectors of a row, each over all terms. Distances in bytes.
struct QuadTile {
  const char* pixels;
  int64_t pixels_apart;  // of vectors
  const int64_t* offsets;
  int64_t terms;
  const char *weights, *starts;
  int64_t weight_step;  // of terms
  char* sums;
  int64_t sums_apart, outputs_apart;
  int64_t valid;  // lanes: of each vector, or of all of them
  Dot::Window window;
};

// Vector v of output i; kOfLanes: vectors are pixels, else columns.
template <bool kOfLanes>
inline void store_quads(const QuadTile& tile, int i, int v, Dot::Vec sums) {
  char* const out = tile.sums + i * tile.outputs_apart + v * tile.sums_apart;
  const int64_t valid = kOfLanes ? tile.valid : tile.valid - v * Dot::kLanes;
  if (valid >= Dot::kLanes) {
    Dot::store(out, sums);
  } else {
    Dot::store_first(out, sums, valid);
  }
}

}  // namespace
}  // namespace torchconv::cpu

// A register tile of sums of integers: some pixels of a row, one or two vectors of output channels.
#pragma once

#include "cpu/common/dispatch.h"
#include "cpu/simd/dot.h"

namespace torchconv::cpu {
namespace {

// The steps of a pixel as three loops, the inner one over neighbours in memory. Distances in bytes.
struct IntegerSteps {
  int64_t outer, middle, inner;
  int64_t outer_pitch, middle_pitch;
};

struct IntegerTile {
  const char* pixels;
  int64_t pixel_pitch;
  const char* weights;  // [step][panel of two vectors]
  const char* starts;
  char* sums;
  int64_t sums_pitch;
};

template <int kRows, int kVectors>
void sum_integers(const IntegerSteps& steps, const IntegerTile& tile) {
  constexpr int64_t kVectorBytes = 4 * Dot::kLanes;
  Dot::Vec sum[kRows][kVectors];
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sum[i][v] = Dot::load(tile.starts + v * kVectorBytes);
  }
  const char* weights = tile.weights;
  const int64_t pitch = tile.pixel_pitch;
  for (int64_t outer = 0; outer < steps.outer; ++outer) {
    for (int64_t middle = 0; middle < steps.middle; ++middle) {
      const char* pixels = tile.pixels + outer * steps.outer_pitch + middle * steps.middle_pitch;
      for (int64_t inner = 0; inner < steps.inner; ++inner) {
        Dot::Vec weight[kVectors];
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) weight[v] = Dot::load(weights + v * kVectorBytes);
#pragma GCC unroll 12
        for (int i = 0; i < kRows; ++i) {
          const Dot::Vec pixel = Dot::broadcast(pixels + i * pitch);
#pragma GCC unroll 2
          for (int v = 0; v < kVectors; ++v) {
            sum[i][v] = Dot::add_products(sum[i][v], pixel, weight[v]);
          }
        }
        weights += 2 * kVectorBytes;
        pixels += 4;
      }
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      Dot::store(tile.sums + i * tile.sums_pitch + v * kVectorBytes, sum[i][v]);
    }
  }
}

// As many pixels as there are, tile after tile.
inline void sum_pixels(const IntegerSteps& steps, IntegerTile tile, int64_t pixels,
                       bool one_vector) {
  for (int64_t count; pixels > 0; pixels -= count) {
    // The last two tiles share what is left, so that neither is short of sums that do not wait for each other.
    count = pixels >= 2 * Dot::kTileRows || pixels <= Dot::kTileRows
                ? smaller(pixels, Dot::kTileRows)
                : (pixels + 1) / 2;
    dispatch_int<1, Dot::kTileRows>(count, [&](auto rows) {
      if (one_vector) {
        sum_integers<rows.value, 1>(steps, tile);
      } else {
        sum_integers<rows.value, 2>(steps, tile);
      }
    });
    tile.pixels += count * tile.pixel_pitch;
    tile.sums += count * tile.sums_pitch;
  }
}

}  // namespace
}  // namespace torchconv::cpu

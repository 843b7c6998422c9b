// How grad_bias cuts a sum over images and pixels into jobs. No torch, no SIMD.
#pragma once

#include "cpu/gather.h"

namespace torchconv::cpu {

struct GradBiasPlan {
  bool planes;  // contiguous: a job for each channel, and nothing of what follows
  int64_t pixels;
  int64_t chunk_pixels, chunks;
  int64_t row_pixels;  // added at once: channels x row_pixels running sums
  int64_t row_size;    // elements of these, in whole blocks of lanes
};

constexpr int64_t kChunkElements = 64 << 10;
constexpr int64_t kLeastChunk = 512;  // pixels; the sums of chunks are a small part of grad
constexpr int64_t kFewChannels = 64;

inline GradBiasPlan make_grad_bias_plan(const Conv2dShape& d) {
  const int64_t lanes = d.dtype == Dtype::kFloat64 ? 8 : 16;
  GradBiasPlan z{};
  z.planes = d.layout == Layout::kContiguous && d.p * d.q > 1;
  z.pixels = d.n * d.p * d.q;
  z.chunk_pixels = round_up(larger(kLeastChunk, kChunkElements / d.k), lanes);
  z.chunks = ceil_div(z.pixels, z.chunk_pixels);
  z.row_pixels = d.k < kFewChannels ? lanes / greatest_common_divisor(d.k, lanes) : 1;
  z.row_size = round_up(z.row_pixels * d.k, lanes);
  return z;
}

}  // namespace torchconv::cpu

// How grad_bias cuts a sum over images and pixels into jobs. No torch, no SIMD.
#pragma once

#include "cpu/common/gather.h"

namespace torchconv::cpu {

struct GradBiasPlan {
  bool planes;  // contiguous: a job for each channel, and nothing of what follows
  int64_t pixels;
  Cut pixel_chunk;
  int64_t row_pixels;  // added at once: channels x row_pixels running sums
  int64_t row_size;    // elements of these, in whole blocks of lanes
};

inline GradBiasPlan make_grad_bias_plan(const Conv2dShape& shape) {
  using namespace sum_order;
  const int64_t lanes = block_lanes(shape.dtype), k = shape.k;
  GradBiasPlan plan{};
  plan.planes = shape.layout == Layout::kContiguous && shape.p * shape.q > 1;
  plan.pixels = shape.n * shape.p * shape.q;
  plan.pixel_chunk =
      Cut::of(round_up(larger(kBiasChunkPixels, kBiasChunkElements / k), lanes), plan.pixels);
  plan.row_pixels = k < kBiasFewChannels ? lanes / greatest_common_divisor(k, lanes) : 1;
  plan.row_size = round_up(plan.row_pixels * k, lanes);
  return plan;
}

}  // namespace torchconv::cpu

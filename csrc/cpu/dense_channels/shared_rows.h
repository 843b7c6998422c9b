// How threads share the pixels of a layer in channels_last.
//
// Where they are more than the images and all of them may read all weights, each has a part of the rows and all of
// their channels: so cut PyTorch's operators such an image, and depthwise layers, too. What a core stored is
// then what it reads, but for the rows around. Were each to have a part of the channels, the next layer would
// fetch half of what it reads from another core, which may have another L3 cache. The same goes for weights that
// were just packed: then each thread has the channels whose weights it packed.
#pragma once

#include "cpu/common/cost_model.h"
#include "cpu/common/gather.h"

namespace torchconv::cpu {

// Whether each thread may read all weights.
inline bool threads_share_pixels(const Gather& gather, Dtype dtype, bool weights_are_kept) {
  const double weights =
      (double)gather.groups * (double)gather.steps() * (double)gather.dst_channels;
  return weights_are_kept && gather.layout == Layout::kChannelsLast &&
         weights * (double)compute_bytes(dtype) <= (double)cost::kWeightsOfEach;
}

// A pointwise layer with rows that so many threads can share: of one pixel, which tiles then go down, or long
// ones, as many for each thread.
inline Gather with_shared_rows(Gather gather, Dtype dtype, int64_t threads, bool weights_are_kept) {
  const Axis &rows = gather.rows, &columns = gather.columns;
  const int64_t pixels = rows.longest * columns.longest;
  const bool pointwise = gather.taps() == 1 && rows.src_size == rows.dst_size &&
                         columns.src_size == columns.dst_size && rows.inside() && columns.inside();
  if (!pointwise || is_half(dtype) || gather.n >= threads ||
      !threads_share_pixels(gather, dtype, weights_are_kept)) {
    return gather;
  }
  int64_t row = 0;
  if (pixels <= cost::kOneRow) {
    row = pixels >= threads * cost::kLeastShare;
  } else if (pixels % threads == 0) {
    row = long_row(pixels / threads);
  }
  if (row) set_rows_of_pixels(gather, rows.forward, pixels, row);
  return gather;
}

// Of a job that should have about so many: threads that share images have as many of them, each.
inline int64_t shared_rows(const Gather& gather, int64_t rows, int64_t threads) {
  const int64_t all = gather.rows.longest;
  const auto jobs = [&](int64_t rows) { return gather.n * ceil_div(all, rows); };
  if (gather.n >= threads || jobs(rows) >= 8 * threads) return rows;
  const auto load = [&](int64_t rows) { return ceil_div(jobs(rows), threads) * rows; };
  int64_t best = rows;
  for (int64_t other = ceil_div(rows, 2); other < 2 * rows && other <= all; ++other) {
    if (load(other) < load(best)) best = other;
  }
  return smaller(best, rows_of_thread(all, gather.n, threads));
}

}  // namespace torchconv::cpu

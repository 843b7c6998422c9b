// One job of depthwise, and the packing of its weights: see algorithm.cpp.
#pragma once

#include "cpu/depthwise/load.h"
#include "cpu/depthwise/packing.h"
#include "cpu/depthwise/pixel_run_loops.h"
#include "cpu/depthwise/tile_loops.h"

namespace torchconv::cpu {
namespace {

// Runs widen a half type while loading, tiles read it only from a patch.
template <class S, class X>
void run_depthwise_rows(const DepthwiseRows<S, X>& rows) {
  if constexpr (kHasRuns<Compute<S>>) {
    if (rows.plan.channels_in_lanes && rows_are_runs(rows.gather)) {
      return DepthwiseRunLoops<S, X>(rows).run();
    }
  }
  if constexpr (std::is_same_v<X, Compute<S>>) DepthwiseTileLoops<S, X>(rows).run();
}

template <class S>
bool reads_in_place(const Gather& gather, const DepthwisePlan& plan) {
  if constexpr (std::is_same_v<S, Compute<S>>) {
    return true;
  } else if constexpr (kHasRuns<Compute<S>>) {
    return plan.channels_in_lanes && rows_are_runs(gather);
  }
  return false;
}

// Rows of some images and blocks.
template <class S>
struct DepthwiseJob {
  using T = Compute<S>;
  using Unpadded = DepthwisePlan::Unpadded;
  const Task& task;
  const Gather& gather;
  const DepthwisePlan& plan;
  int64_t row_begin, image_begin;
  Range blocks;
  int64_t* offsets;
  T *patch, *bias, *sums, *folded;
  S* staged;                 // or null
  const T *packed, *finite;  // weights, and a flag for each block
  int64_t block_lanes;       // channels of a block

  DepthwiseJob(const Task& task, const Gather& gather, const DepthwisePlan& plan, const Job& job)
      : task(task), gather(gather), plan(plan) {
    blocks = plan.blocks_of(job.index % plan.parts);
    row_begin = plan.rows.begin(job.index / plan.parts % plan.rows.count);
    image_begin = job.index / plan.parts / plan.rows.count * plan.images;
    offsets = (int64_t*)job.scratch;
    patch = (T*)(offsets + plan.scratch.offsets);
    bias = patch + plan.scratch.patch;
    sums = bias + plan.scratch.bias;
    folded = sums + plan.scratch.sums;
    // A residual is where the result is.
    staged = plan.staged && !task.residual ? (S*)(folded + plan.scratch.folded) : nullptr;
    packed = (const T*)job.shared;
    finite = packed + plan.weights.size;
    block_lanes = plan.channels_in_lanes ? plan.lanes : 1;
  }

  void run() const {
    if (task.bias) {
      const int64_t first = blocks.begin * block_lanes;
      copy_span((const S*)task.bias + first, bias,
                smaller((blocks.end - blocks.begin) * block_lanes,
                        gather.groups * gather.dst_channels - first));
    }
    DepthwiseRows<S, T> rows(task, gather, plan, row_begin, offsets, sums, folded);
    DepthwiseRows<S, S> direct(task, gather, plan, row_begin, offsets, sums, folded);
    direct.bias = task.bias ? bias : nullptr;
    direct.weights = packed + blocks.begin * plan.weight_block();
    if (plan.even_odd) {
      direct.even_odd = packed + plan.weights.even_odd + blocks.begin * plan.weight_block();
    }
    direct.block = blocks.begin, direct.blocks = blocks.end - blocks.begin;
    direct.skip_padding = direct.in_place = true;

    const int64_t src_channels = gather.groups * gather.src_channels;
    const int64_t src_image = src_channels * gather.src_height() * gather.src_width();
    const int64_t dst_image =
        gather.groups * gather.dst_channels * plan.height(gather) * plan.width(gather);
    bool in_place = plan.unpadded == Unpadded::kInPlace && reads_in_place<S>(gather, plan);
    for (int64_t b = blocks.begin; in_place && b < blocks.end; ++b) in_place = needs_no_zeros(b);
    // Strips with another order on their way to the result go plane by plane.
    const bool at_once =
        in_place && !staged &&
        (plan.channels_in_lanes || (gather.columns.dst_step == 1 && !rows.spaced()));
    for (int64_t n = image_begin; n < smaller(gather.n, image_begin + plan.images); ++n) {
      const Image<S> source = {(const S*)gather_source(task) + n * src_image,
                               gather.layout,
                               src_channels,
                               gather.src_height(),
                               gather.src_width(),
                               gather.margins};
      rows.result = direct.result = (S*)task.result + n * dst_image;
      rows.staged = staged;
      if (at_once) {
        direct.view = view_in_place(source, blocks.begin);
        run_depthwise_rows(direct);
        continue;
      }
      for (int64_t b = blocks.begin; b < blocks.end; b += rows.blocks) {
        rows.block = b, rows.blocks = 1;
        rows.weights = packed + b * plan.weight_block();
        rows.skip_padding = needs_no_zeros(b);
        rows.bias = task.bias ? bias + (b - blocks.begin) * block_lanes : nullptr;
        rows.in_place = in_place || (plan.unpadded == Unpadded::kCopied && needs_no_zeros(b));
        if (in_place && staged) rows.blocks = smaller(plan.copied_blocks, blocks.end - b);
        if (!rows.in_place) {
          rows.view = load_padded(source, b);
        } else if (plan.unpadded == Unpadded::kCopied) {
          rows.view = load_without_padding(source, rows);
        } else if constexpr (std::is_same_v<S, T>) {
          rows.view = view_in_place(source, b);
        }
        run_depthwise_rows(rows);
        rows.store_staged();
      }
    }
  }

  // Padding is no zeros, or they add nothing.
  bool needs_no_zeros(int64_t block) const { return finite[block] != 0 || gather.margins.any(); }

  // The source itself, from the first channel of a block on.
  DepthwiseView<S> view_in_place(const Image<S>& source, int64_t block) const {
    const int64_t pixel = plan.channels_in_lanes ? source.channels : 1;
    const int64_t first = depthwise_channels(gather, plan, block).first / gather.dst_channels;
    return {source.data + first * (plan.channels_in_lanes ? 1 : source.height * source.width),
            gather.margins.top,
            1,
            source.width * pixel,
            gather.margins.left,
            pixel,
            gather.columns.src_step * pixel};
  }

  // The source of a block and of those behind it that fit, without padding.
  DepthwiseView<T> load_without_padding(const Image<S>& source, DepthwiseRows<S, T>& rows) const {
    const int64_t last = smaller(blocks.end, rows.block + plan.copied_blocks);
    while (rows.block + rows.blocks < last && needs_no_zeros(rows.block + rows.blocks)) {
      ++rows.blocks;
    }
    const Range loaded = plan.copied_rows(gather, row_begin);
    const int64_t pixel = plan.channels_in_lanes ? rows.blocks * plan.lanes : 1;
    BlockChannels channels = depthwise_channels(gather, plan, rows.block);
    if (plan.channels_in_lanes)
      channels.count = smaller(pixel, gather.groups * gather.dst_channels - channels.first);
    load_unpadded(source, plan.channels_in_lanes, channels, rows.blocks, loaded.begin, loaded.end,
                  pixel, patch);
    return {patch, loaded.begin + gather.margins.top, 1, source.width * pixel, gather.margins.left,
            pixel, gather.columns.src_step * pixel};
  }

  DepthwiseView<T> load_padded(const Image<S>& source, int64_t block) const {
    load_depthwise_patch(source, plan.patch, plan.channels_in_lanes,
                         depthwise_channels(gather, plan, block), first_row() - gather.margins.top,
                         plan.patch_rows(), gather.columns.src_low - gather.margins.left,
                         plan.lanes, patch);
    return {patch,
            first_row(),
            plan.patch.row_skip,
            plan.patch.row_pitch,
            gather.columns.src_low,
            block_lanes,
            plan.patch.pixel_step};
  }

  int64_t first_row() const { return row_begin * gather.rows.src_step + gather.rows.src_low; }
};

inline void depthwise(const Task& task, const Job& job) {
  const auto& [gather, plan] = *(const Planned<DepthwisePlan>*)job.details;
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    if (job.stage == 0) {
      Compute<S>* const packed = (Compute<S>*)job.shared;
      const int64_t begin = job.index * plan.weights.pack_blocks;
      for (int64_t i = begin; i < smaller(plan.blocks, begin + plan.weights.pack_blocks); ++i) {
        Compute<S>* const block = packed + i * plan.weight_block();
        pack_depthwise<S>(task, gather, plan, i, block);
        packed[plan.weights.size + i] = all_finite(block, plan.weight_block());
        if (plan.even_odd && i % 2 == 1) {
          pack_even_odd(block - plan.weight_block(), plan.weight_block(),
                        packed + plan.weights.even_odd + (i - 1) * plan.weight_block());
        }
      }
      return;
    }
    DepthwiseJob<S>(task, gather, plan, job).run();
  });
}

}  // namespace
}  // namespace torchconv::cpu

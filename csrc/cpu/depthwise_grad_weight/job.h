// One job of depthwise_grad_weight: see algorithm.cpp.
#pragma once

#include "cpu/common/ordered_sum.h"
#include "cpu/depthwise/load.h"
#include "cpu/depthwise_grad_weight/load_plane.h"
#include "cpu/depthwise_grad_weight/plan.h"
#include "cpu/depthwise_grad_weight/tap_tile.h"
#include "cpu/depthwise_grad_weight/window_tile.h"

namespace torchconv::cpu {
namespace {

template <class S>
struct DepthwiseGradBlock {
  using T = Compute<S>;
  const Task& task;
  const Gather& gather;
  const DepthwiseGradPlan& plan;
  int64_t block;

  int64_t first_channel() const { return plan.channels_in_lanes ? block * plan.lanes : block; }
  int64_t channel_count() const {
    return plan.channels_in_lanes
               ? smaller(plan.lanes, gather.groups * gather.dst_channels - first_channel())
               : 1;
  }

  // The rows of a part from pixel (0, 0) of both images on, in place or copied; then all taps. The source is as
  // it lies in memory, with margins around it, or has its padding.
  template <class X>
  void add_windows(DepthwiseWindows<X> w, T* sums) const {
    const int64_t taps = gather.columns.kernel;
    w.height = gather.rows.src_size - w.margins.top - w.margins.bottom;
    w.width = gather.columns.src_size - w.margins.left - w.margins.right;
    w.columns = gather.columns.dst_size, w.row_step = gather.rows.src_step;
    w.column_first = gather.columns.phase(0).src_first - w.margins.left;
    w.sums_row = taps * plan.lanes, w.sums_tap = plan.lanes;
    const X* const x = w.x;
    const X* const grad = w.grad;
    const AxisPhase rows = gather.rows.phase(0);
    for (int64_t lane = 0; lane < channel_count(); lane += Simd<T>::kLanes) {
      w.x = x + lane, w.grad = grad + lane, w.sums = sums + lane;
      if (gather.columns.src_step == 1) {
        run_windows_of_taps<1>(w, gather.rows, rows, taps);
      } else {
        run_windows_of_taps<2>(w, gather.rows, rows, taps);
      }
      if (!gather.margins.any()) add_windows_in_padding(w, rows, taps);
    }
  }

  void add_window_part(const Image<S>& input, const Image<S>& grad, Range rows, T* patch,
                       T* sums) const {
    const int64_t q = gather.columns.dst_size, lanes = plan.lanes;
    const int64_t count = channel_count(), first = first_channel();
    if (gather.layout == Layout::kChannelsLast && count == lanes) {
      const int64_t channels = gather.groups, width = gather.src_width();
      DepthwiseWindows<S> w{};
      w.x = input.data + first, w.x_row = width * channels, w.x_pixel = channels;
      w.grad = grad.data + first, w.grad_row = q * channels, w.grad_pixel = channels;
      w.row_begin = rows.begin, w.row_end = rows.end, w.margins = gather.margins;
      return add_windows(w, sums);
    }
    // Of what padding repeats, a part of the rows may lack some: then it is copied, too.
    const bool all_rows = gather.margins.any() && plan.rows.count == 1;
    const Margins copied = all_rows ? Margins{} : gather.margins;
    const int64_t width = gather.src_width() + copied.left + copied.right;
    const auto [low, high] =
        all_rows ? Range{0, gather.src_height()} : source_rows(gather.rows, rows);
    T* const grad_patch = patch + plan.scratch.patch;
    if (count < lanes) {
      fill_zero(patch, (high - low) * width * lanes);
      fill_zero(grad_patch, (rows.end - rows.begin) * q * lanes);
    }
    load_patch(input, {low - copied.top, high - low, 1, -copied.left, width, 1, first, count},
               patch, lanes);
    load_patch(grad, {rows.begin, rows.end - rows.begin, 1, 0, q, 1, first, count}, grad_patch,
               lanes);
    DepthwiseWindows<T> w{};
    w.x_row = width * lanes, w.grad_row = q * lanes, w.x_pixel = w.grad_pixel = lanes;
    w.x = patch - low * w.x_row, w.grad = grad_patch - rows.begin * w.grad_row;
    w.row_begin = rows.begin, w.row_end = rows.end;
    if (all_rows) w.margins = gather.margins;
    add_windows(w, sums);
  }

  // sums [r, s][lanes] += these rows of grad of image n
  void add_rows(int64_t n, Range rows, char* scratch, T* sums) const {
    const int64_t c = gather.groups, k = gather.groups * gather.dst_channels;
    const int64_t p = gather.rows.dst_size, q = gather.columns.dst_size;
    const int64_t h = gather.src_height(), w = gather.src_width();
    const Image<S> input = {
        (const S*)task.input + n * c * h * w, gather.layout, c, h, w, gather.margins};
    const Image<S> grad = {(const S*)task.grad + n * k * p * q, gather.layout, k, p, q};
    int64_t* const offsets = (int64_t*)scratch;
    T* const patch = (T*)(offsets + round_up(gather.columns.kernel, 8));
    if (plan.windows) return add_window_part(input, grad, rows, patch, sums);
    fill_offsets(offsets);
    const T* const x = load_source(input, rows, patch);
    add_taps(x, load_grad(grad, rows, patch + plan.scratch.patch), rows.end - rows.begin, offsets,
             sums);
  }

  // What these rows of grad see; from the first column that any tap sees on.
  const T* load_source(const Image<S>& input, Range rows, T* copy) const {
    const int64_t first =
        rows.begin * gather.rows.src_step + gather.rows.src_low - input.margins.top;
    const int64_t count = (rows.end - rows.begin - 1) * plan.patch.row_advance +
                          gather.rows.src_high - gather.rows.src_low + 1;
    if (plan.plane.pitch) {
      T* const pixels = copy + plan.plane.lead;
      load_plane(input, block / gather.dst_channels, first, plan.patch.row_skip, count, plan.plane,
                 pixels);
      return pixels - plan.plane.left;
    }
    load_depthwise_patch(input, plan.patch, plan.channels_in_lanes,
                         {first_channel(), channel_count(), 1, gather.dst_channels}, first, count,
                         gather.columns.src_low - gather.margins.left, plan.lanes, copy);
    return copy;
  }

  // Where the taps of one row lie in the patch.
  void fill_offsets(int64_t* offsets) const {
    const AxisPhase columns = gather.columns.phase(0);
    const int64_t lanes = plan.channels_in_lanes ? plan.lanes : 1;
    for (int64_t s = 0; s < gather.columns.kernel; ++s) {
      offsets[s] = plan.patch.column(
          columns.src_first + s * columns.src_delta - gather.columns.src_low, lanes);
    }
  }

  // These rows of grad, in place or copied.
  const T* load_grad(const Image<S>& grad, Range rows, T* copy) const {
    const int64_t p = grad.height, q = grad.width, k = grad.channels;
    if (plan.grad_in_place) {
      return (const T*)grad.data + (plan.channels_in_lanes ? rows.begin * q * k + block * plan.lanes
                                                           : (block * p + rows.begin) * q);
    }
    const int64_t lanes = plan.channels_in_lanes ? plan.lanes : 1;
    if (channel_count() < lanes) fill_zero(copy, plan.scratch.grad);
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      T* const to = copy + (row - rows.begin) * plan.grad_row;
      if (plan.plane.pitch) {
        copy_span(grad.data + (block * p + row) * q, to, q);
      } else if (!plan.channels_in_lanes && gather.layout == Layout::kChannelsLast) {
        load_spaced_row(grad.data + row * q * k + block, q, k, 0, 1, q, to);
      } else {
        load_patch(grad, {row, 1, 1, 0, q, 1, first_channel(), channel_count()}, to, lanes);
      }
    }
    return copy;
  }

  // sums += the products of `count` rows of grad with what every tap sees of the patch
  void add_taps(const T* patch, const T* grad, int64_t count, const int64_t* offsets,
                T* sums) const {
    constexpr int64_t kLanes = Simd<T>::kLanes;
    const AxisPhase rows = gather.rows.phase(0), columns = gather.columns.phase(0);
    const int64_t q = gather.columns.dst_size;
    DepthwiseTaps<T> taps;
    taps.x_row = plan.patch.row_pitch;
    taps.x_step = plan.channels_in_lanes ? plan.patch.pixel_step : plan.lanes;
    taps.advance = plan.patch.row_advance, taps.delta = rows.taps > 1 ? rows.src_delta : 1;
    taps.offset = offsets;
    taps.grad_row = plan.grad_row;
    taps.grad_step = plan.channels_in_lanes && plan.grad_in_place
                         ? gather.groups * gather.dst_channels
                         : plan.lanes;
    taps.rows = count;
    const int64_t vecs = plan.channels_in_lanes ? q : ceil_div(q, plan.lanes);
    taps.sums_row = gather.columns.kernel * plan.lanes, taps.sums_step = plan.lanes;
    for (int64_t lane = 0; lane < plan.lanes; lane += kLanes) {
      taps.sums = sums + lane;
      const int64_t rest = q - (vecs - 1) * plan.lanes - lane;
      taps.last = plan.channels_in_lanes ? kLanes : larger(0, smaller(kLanes, rest));
      for (int64_t i = 0; i < plan.columns.count; ++i) {
        const int64_t column = plan.columns.begin(i);
        taps.vecs = plan.channels_in_lanes ? plan.columns.length(i, q) : vecs;
        taps.x = patch + lane + column * taps.x_step;
        taps.grad = grad + lane + column * taps.grad_step;
        run_taps(taps, rows.taps, columns.taps);
      }
    }
  }

  // Writes the block's part of the result, [k][r, s] in every layout.
  void store(T* sums) const {
    const int64_t taps = gather.taps();
    S* const result = (S*)task.result + first_channel() * taps;
    if (plan.channels_in_lanes) {
      return transpose_copy(sums, plan.lanes, taps, channel_count(), result, taps);
    }
    for (int64_t i = 0; i < taps; ++i, sums += plan.lanes) {
      for (int64_t half = plan.lanes / 2; half; half /= 2) {
        for (int64_t l = 0; l < half; ++l) sums[l] += sums[l + half];
      }
      from_compute(result + i, sums[0]);
    }
  }
};

template <class S>
void depthwise_grad_weight_job(const Task& task, const Job& job, const Gather& gather,
                               const DepthwiseGradPlan& plan) {
  using T = Compute<S>;
  using Block = DepthwiseGradBlock<S>;
  const Range blocks = plan.blocks_of(job.index % plan.parts);
  // Blocks of some row parts of some images. Neighbouring channels share pages and cache lines: all
  // blocks of the job go over a row part before the next one.
  const auto sum_images = [&](int64_t image_begin, int64_t image_end, Range parts, T* sums) {
    fill_zero(sums, (blocks.end - blocks.begin) * plan.block_size);
    for (int64_t n = image_begin; n < image_end; ++n) {
      for (int64_t part = parts.begin; part < parts.end; ++part) {
        const Range rows = share(part, plan.rows.count, gather.rows.dst_size);
        for (int64_t i = blocks.begin; i < blocks.end; ++i) {
          Block{task, gather, plan, i}.add_rows(n, rows, job.scratch,
                                                sums + (i - blocks.begin) * plan.block_size);
        }
      }
    }
  };
  if (plan.chunks.whole_batch()) {
    T* const sums =
        (T*)(job.scratch + depthwise_grad_scratch_bytes(plan, gather, task.shape.dtype)) -
        plan.scratch.sums;
    sum_images(0, gather.n, {0, plan.rows.count}, sums);
    for (int64_t i = blocks.begin; i < blocks.end; ++i) {
      Block{task, gather, plan, i}.store(sums + (i - blocks.begin) * plan.block_size);
    }
    return;
  }
  const WaveSums<T> wave(plan.chunks, gather.n, plan.blocks * plan.block_size, job);
  if (job.stage == 0) {
    const int64_t in_wave = job.index / plan.parts;
    if (in_wave >= wave.waiting()) return;
    const SampleChunk chunk = wave.chunk(in_wave);
    return sum_images(chunk.image_begin, chunk.image_end, chunk.share_of(plan.rows.count),
                      wave.partial(in_wave) + blocks.begin * plan.block_size);
  }
  for (int64_t i = blocks.begin; i < blocks.end; ++i) {
    T* const sums = add_wave(wave, i * plan.block_size, plan.block_size);
    if (sums) Block{task, gather, plan, i}.store(sums);
  }
}

inline void depthwise_grad_weight(const Task& task, const Job& job) {
  const auto& [gather, plan] = *(const Planned<DepthwiseGradPlan>*)job.details;
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    depthwise_grad_weight_job<std::remove_pointer_t<decltype(storage)>>(task, job, gather, plan);
  });
}

}  // namespace
}  // namespace torchconv::cpu

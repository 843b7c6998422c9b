// The weights of winograd: G w G^T of a panel, [point][channel][lanes], part after part of a large kernel.
#pragma once

#include "cpu/common/beyond_caches.h"
#include "cpu/common/pack_weights.h"
#include "cpu/winograd/plan.h"
#include "cpu/winograd/strided_transforms.h"
#include "cpu/winograd/transforms.h"

namespace torchconv::cpu {
namespace {

// One block of lanes, [r][s][lane] with `row` and `column` elements from one to the next; the input
// gradient sees the taps `turned`, but for tiles that spread. Those beyond `rows` and `columns` are zeros.
template <class F, bool kWhole, class S>
void transform_taps(const S* in, int64_t row, int64_t column, int64_t rows, int64_t columns,
                    Compute<S>* out, int64_t pitch) {
  using V = Simd<Compute<S>>;
  using Down = typename F::Down;
  using Across = typename F::Across;
  for (int64_t lane = 0; lane < kLaneBlock<Compute<S>>; lane += V::kLanes) {
    transform_both_axes<V, Down::kTaps, Down::kWeights, Across::kTaps, Across::kWeights>(
        [](const auto& w, auto& values) { weight_transform<V>(Down{}, w, values); },
        [](const auto& w, auto& values) { weight_transform<V>(Across{}, w, values); },
        [&](int r, int s) {
          if (!kWhole && (r >= rows || s >= columns)) return V::zero();
          return V::load(in + lane + r * row + s * column);
        },
        [&](int i, int j, typename V::Vec value) {
          V::store(out + lane + (i * Across::kWeights + j) * pitch, value);
        });
  }
}

template <class F, class S>
void transform_weights(const S* in, int64_t row, int64_t column, const PartTaps& taps, bool turned,
                       Compute<S>* out, int64_t pitch) {
  if (turned)
    in += (taps.rows - 1) * row + (taps.columns - 1) * column, row = -row, column = -column;
  const bool whole = taps.rows == F::Down::kTaps && taps.columns == F::Across::kTaps;
  const auto transform = whole ? transform_taps<F, true, S> : transform_taps<F, false, S>;
  transform(in, row, column, taps.rows, taps.columns, out, pitch);
}

// The source channels [c_begin, c_begin + channels) of a part of the kernel, for the destination channels from
// `first` on: out is [point][channel][width], points being weights_pitch() apart.
template <class F, class S>
void pack_part(const Task& task, const Gather& gather, const WinogradPlan& plan, PartTaps taps,
               int64_t first, int64_t width, int64_t c_begin, int64_t channels, Compute<S>* packed,
               Compute<S>* out) {
  const bool grad_input = task.op != Op::kForward, turned = grad_input && !kSpreads<F>;
  if (turned) taps = plan.parts.turned(taps);
  const int64_t* const stride = task.weight_stride;
  const S* const corner = (const S*)task.weight + taps.row * stride[2] + taps.column * stride[3];
  if (grad_input && stride[1] == 1 && first + width <= gather.dst_channels) {
    // Destination channels side by side are lanes already.
    for (int64_t c = 0; c < channels; ++c) {
      const S* const from = corner + first + (c_begin + c) * stride[0];
      for (int64_t r = 0; r < taps.rows; ++r) {
        for (int64_t s = 0; s < taps.columns; ++s)
          prefetch_span(from + stride[0] + r * stride[2] + s * stride[3], width);
      }
      for (int64_t lane = 0; lane < width; lane += plan.lanes) {
        transform_weights<F>(from + lane, stride[2], stride[3], taps, turned,
                             out + c * width + lane, plan.weights_pitch());
      }
    }
    return;
  }
  Gather one_by_one = gather;  // channels, each with its taps
  one_by_one.order.c_block = 1;
  for (Axis* axis : {&one_by_one.rows, &one_by_one.columns})  // of all phases
    axis->forward = true, axis->phases = axis->dst_step = 1;
  const bool whole_rows = taps.rows > 1 && stride[3] == 1;
  const int64_t columns = whole_rows ? plan.parts.kernel_columns : taps.columns;
  one_by_one.rows.kernel = taps.rows, one_by_one.columns.kernel = columns;
  Task of_part = task;
  of_part.weight = corner - (whole_rows ? taps.column : 0);
  const Compute<S>* const first_tap = packed + (whole_rows ? taps.column * plan.lanes : 0);
  for (int64_t lane = 0; lane < width; lane += plan.lanes) {
    const int64_t valid = smaller(plan.lanes, gather.dst_channels - first - lane);
    pack_chunk<S>(of_part, one_by_one, 0, first + lane, valid, plan.lanes, c_begin, channels,
                  packed);
    for (int64_t c = 0; c < channels; ++c) {
      transform_weights<F>(first_tap + c * one_by_one.taps() * plan.lanes, columns * plan.lanes,
                           plan.lanes, taps, turned, out + c * width + lane, plan.weights_pitch());
    }
  }
}

// The same of a panel, for source channels of all parts.
template <class F, class S>
void pack_winograd(const Task& task, const Gather& gather, const WinogradPlan& plan, int64_t panel,
                   int64_t c_begin, int64_t channels, Compute<S>* packed, Compute<S>* out) {
  const int64_t first = plan.panel(panel).begin * plan.lanes, width = plan.panel_width(panel);
  const int64_t c_end = c_begin + channels;
  for (int64_t c = c_begin, stop; c < c_end; c = stop) {
    const int64_t part = c / plan.part_channels, from = c % plan.part_channels;
    stop = smaller(c_end, (part + 1) * plan.part_channels);
    const int64_t exist = larger(0, smaller(stop - c, gather.src_channels - from));
    Compute<S>* const to = out + (c - c_begin) * width;
    pack_part<F, S>(task, gather, plan, plan.parts.taps(part), first, width, from, exist, packed,
                    to);
    if (exist == stop - c) continue;
    for (int64_t value = 0; value < plan.values; ++value)
      fill_zero(to + value * plan.weights_pitch() + exist * width, (stop - c - exist) * width);
  }
}

}  // namespace
}  // namespace torchconv::cpu

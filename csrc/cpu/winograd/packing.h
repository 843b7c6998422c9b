// The weights of winograd: G w G^T of a panel, [point][channel][lanes].
#pragma once

#include "cpu/common/pack_weights.h"
#include "cpu/common/prefetch.h"
#include "cpu/winograd/plan.h"
#include "cpu/winograd/strided_transforms.h"
#include "cpu/winograd/transforms.h"

namespace torchconv::cpu {
namespace {

// One block of lanes, [r][s][lane] with `row` and `column` elements from one to the next; the input
// gradient sees the taps `turned`.
template <class F, class S>
void transform_weights(const S* in, int64_t row, int64_t column, bool turned, Compute<S>* out,
                       int64_t pitch) {
  using V = Simd<Compute<S>>;
  using Down = typename F::Down;
  using Across = typename F::Across;
  if (turned)
    in += (Down::kTaps - 1) * row + (Across::kTaps - 1) * column, row = -row, column = -column;
  for (int64_t lane = 0; lane < kLaneBlock<Compute<S>>; lane += V::kLanes) {
    transform_both_axes<V, Down::kTaps, Down::kWeights, Across::kTaps, Across::kWeights>(
        [](const auto& w, auto& values) { weight_transform<V>(Down{}, w, values); },
        [](const auto& w, auto& values) { weight_transform<V>(Across{}, w, values); },
        [&](int r, int s) { return V::load(in + lane + r * row + s * column); },
        [&](int i, int j, typename V::Vec value) {
          V::store(out + lane + (i * Across::kWeights + j) * pitch, value);
        });
  }
}

// The source channels [c_begin, c_begin + channels) of a panel: out is [point][channel][width], points being
// weights_pitch() apart.
template <class F, class S>
void pack_winograd(const Task& task, const Gather& gather, const WinogradPlan& plan, int64_t panel,
                   int64_t c_begin, int64_t channels, Compute<S>* packed, Compute<S>* out) {
  constexpr int64_t kRow = F::Across::kTaps, kTaps = F::Down::kTaps * kRow;
  Gather one_by_one = gather;  // channels, each with its taps
  one_by_one.order.c_block = 1;
  for (Axis* axis : {&one_by_one.rows, &one_by_one.columns})  // of all phases
    axis->forward = true, axis->phases = axis->dst_step = 1;
  const bool turned = task.op != Op::kForward;
  const int64_t first = plan.panel(panel).begin * plan.lanes, width = plan.panel_width(panel);
  const int64_t* const stride = task.weight_stride;
  if (turned && stride[1] == 1 && first + width <= gather.dst_channels) {
    // Destination channels side by side are lanes already.
    const S* const weight = (const S*)task.weight + first;
    for (int64_t c = 0; c < channels; ++c) {
      const S* const from = weight + (c_begin + c) * stride[0];
      for (int64_t tap = 0; tap < kTaps; ++tap)
        prefetch_span(from + stride[0] + tap / kRow * stride[2] + tap % kRow * stride[3], width);
      for (int64_t lane = 0; lane < width; lane += plan.lanes) {
        transform_weights<F>(from + lane, stride[2], stride[3], turned, out + c * width + lane,
                             plan.weights_pitch());
      }
    }
    return;
  }
  for (int64_t lane = 0; lane < width; lane += plan.lanes) {
    const int64_t valid = smaller(plan.lanes, gather.dst_channels - first - lane);
    pack_chunk<S>(task, one_by_one, 0, first + lane, valid, plan.lanes, c_begin, channels, packed);
    for (int64_t c = 0; c < channels; ++c) {
      transform_weights<F>(packed + c * kTaps * plan.lanes, kRow * plan.lanes, plan.lanes, turned,
                           out + c * width + lane, plan.weights_pitch());
    }
  }
}

}  // namespace
}  // namespace torchconv::cpu

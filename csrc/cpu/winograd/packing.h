// The weights of winograd: G w G^T of a panel, [point][channel][lanes].
#pragma once

#include "cpu/common/pack_weights.h"
#include "cpu/winograd/plan.h"
#include "cpu/winograd/transforms.h"

namespace torchconv::cpu {
namespace {

// in: [tap][width], one vector of lanes; the input gradient sees the taps `turned`.
template <int kTile, class T>
void transform_weights(const T* in, int64_t width, bool turned, T* out, int64_t pitch) {
  using V = Simd<T>;
  constexpr int kSide = kTile + 2;
  const T* const first = turned ? in + 8 * width : in;
  const int64_t step = turned ? -width : width;
  transform_both_axes<V, 3, kSide>(
      [](const auto& w, auto& values) { weight_transform<V>(w, values); },
      [&](int r, int s) { return V::load(first + (r * 3 + s) * step); },
      [&](int i, int j, typename V::Vec value) { V::store(out + (i * kSide + j) * pitch, value); });
}

// The source channels [c_begin, c_begin + channels) of a panel: out is [point][channel][width], points being
// weights_pitch() apart.
template <int kTile, class S>
void pack_winograd(const Task& task, const Gather& gather, const WinogradPlan& plan, int64_t panel,
                   int64_t c_begin, int64_t channels, Compute<S>* packed, Compute<S>* out) {
  using T = Compute<S>;
  Gather one_by_one = gather;  // channels, each with its taps
  one_by_one.order.c_block = 1;
  const int64_t first = plan.panel(panel).begin * plan.lanes, width = plan.panel_width(panel);
  for (int64_t lane = 0; lane < width; lane += plan.lanes) {
    const int64_t valid = smaller(plan.lanes, gather.dst_channels - first - lane);
    pack_chunk<S>(task, one_by_one, 0, first + lane, valid, plan.lanes, c_begin, channels, packed);
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t v = 0; v < plan.lanes; v += Simd<T>::kLanes) {
        transform_weights<kTile>(packed + c * 9 * plan.lanes + v, plan.lanes,
                                 task.op != Op::kForward, out + c * width + lane + v,
                                 plan.weights_pitch());
      }
    }
  }
}

}  // namespace
}  // namespace torchconv::cpu

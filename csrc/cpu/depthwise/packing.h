// Stage 0 of depthwise: the weights of a block as its tiles read them, and whether they are finite.
#pragma once

#include "cpu/common/copy.h"
#include "cpu/depthwise/load.h"
#include "cpu/depthwise/plan.h"

namespace torchconv::cpu {
namespace {

inline BlockChannels depthwise_channels(const Gather& gather, const DepthwisePlan& plan,
                                        int64_t block) {
  const int64_t per_block = plan.channels_in_lanes ? plan.lanes : 1, first = block * per_block;
  // `first` counts destination channels; gather.src_channels of them or one of gather.dst_channels is the
  // source.
  return {first * gather.src_channels,
          smaller(per_block, gather.groups * gather.dst_channels - first), gather.src_channels,
          gather.dst_channels};
}

// The weights of one block: [plane][r][s], or [plane][r][s][lanes] with zeros in surplus lanes.
template <class S>
void pack_depthwise(const Task& task, const Gather& gather, const DepthwisePlan& plan,
                    int64_t block, Compute<S>* out) {
  using T = Compute<S>;
  const BlockChannels channels = depthwise_channels(gather, plan, block);
  const int64_t* const stride = task.weight_stride;
  const int64_t r = gather.rows.kernel, s = gather.columns.kernel;
  fill_zero(out, plan.weight_block());
  for (int64_t plane = 0; plane < gather.src_channels; ++plane, out += plan.weights.plane) {
    const S* const weight = (const S*)task.weight + (channels.first + plane) * stride[0];
    if (plan.channels_in_lanes && stride[3] == 1 && (r == 1 || stride[2] == s)) {
      transpose_copy(weight, channels.lane_step * stride[0], channels.count, r * s, out,
                     plan.lanes);
      continue;
    }
    if (!plan.channels_in_lanes && stride[3] == 1) {
      for (int64_t i = 0; i < r; ++i)
        copy_span(weight + i * stride[2], out + i * plan.weights.row, s);
      continue;
    }
    for (int64_t i = 0; i < r * s; ++i) {
      const S* const at = weight + i / s * stride[2] + i % s * stride[3];
      T* const to = out + i / s * plan.weights.row + i % s * plan.weights.step;
      for (int64_t l = 0; l < channels.count; ++l)
        to[l] = to_compute(at[l * channels.lane_step * stride[0]]);
    }
  }
}

// The weights of two blocks, of so many elements each: [r, s][2][lanes], the channels at even places first.
template <class T>
void pack_even_odd(const T* blocks, int64_t block_size, T* out) {
  for (int64_t i = 0; i < block_size; i += kRunLanes, out += 2 * kRunLanes) {
    for (int64_t l = 0; l < kRunLanes; ++l) {
      const T* const from = blocks + i + (l < kRunLanes / 2 ? 0 : block_size) + 2 * l % kRunLanes;
      out[l] = from[0], out[kRunLanes + l] = from[1];
    }
  }
}

}  // namespace
}  // namespace torchconv::cpu

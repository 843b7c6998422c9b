// Stage 0 of depthwise: the weights of a block as its tiles read them, and whether they are finite.
// Included inside the namespace of each isa_*.cpp.
#pragma once

inline BlockChannels depthwise_channels(const Gather& g, const DepthwisePlan& z, int64_t block) {
  const int64_t per_block = z.channel_lanes ? z.lanes : 1, first = block * per_block;
  // `first` counts destination channels; g.src_channels of them or one of g.dst_channels is the
  // source.
  return {first * g.src_channels, smaller(per_block, g.groups * g.dst_channels - first),
          g.src_channels, g.dst_channels};
}

// The weights of one block: [plane][r][s], or [plane][r][s][lanes] with zeros in surplus lanes.
template <class S>
void pack_depthwise(const Task& task, const Gather& g, const DepthwisePlan& z, int64_t block,
                    Compute<S>* out) {
  using T = Compute<S>;
  const BlockChannels channels = depthwise_channels(g, z, block);
  const int64_t* const stride = task.weight_stride;
  const int64_t r = g.rows.kernel, s = g.columns.kernel;
  fill_zero(out, z.weight_block());
  for (int64_t plane = 0; plane < g.src_channels; ++plane, out += z.weight_plane) {
    const S* const weight = (const S*)task.weight + (channels.first + plane) * stride[0];
    if (z.channel_lanes && stride[3] == 1 && (r == 1 || stride[2] == s)) {
      transpose_copy<S, T, T>(weight, channels.lane_step * stride[0], channels.count, r * s, out,
                              z.lanes, nullptr);
      continue;
    }
    if (!z.channel_lanes && stride[3] == 1) {
      for (int64_t i = 0; i < r; ++i)
        copy_run<S, T, T>(weight + i * stride[2], out + i * z.weight_row, s, nullptr);
      continue;
    }
    for (int64_t i = 0; i < r * s; ++i) {
      const S* const at = weight + i / s * stride[2] + i % s * stride[3];
      T* const to = out + i / s * z.weight_row + i % s * z.weight_step;
      for (int64_t l = 0; l < channels.count; ++l)
        to[l] = to_compute(at[l * channels.lane_step * stride[0]]);
    }
  }
}

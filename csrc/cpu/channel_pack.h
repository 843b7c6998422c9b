// Packs weights for the lanes: shared by the algorithms that broadcast pixels against them and those
// that broadcast them against pixels. Included inside the namespace of each isa_*.cpp.
#pragma once

// Packs the lanes [lane, lane + valid) of one group's destination channels for one panel.
template <class S>
void pack_panel(const Task& task, const Gather& g, int64_t group, int64_t lane, int64_t valid,
                int64_t width, Compute<S>* out) {
  using T = Compute<S>;
  const bool forward = task.op == Op::kForward;
  const int64_t* stride = task.weight_stride;
  // The weight of destination lane i and source channel c: at i * dst_stride + c * src_stride.
  const int64_t dst_stride = forward ? stride[0] : stride[1],
                src_stride = forward ? stride[1] : stride[0];
  const int64_t group_at = group * task.shape.k_per_group() * stride[0];
  const S* const weight = (const S*)task.weight + group_at + lane * dst_stride;
  const int64_t taps = g.taps(), r = g.rows.kernel, s = g.columns.kernel;
  if (valid < width) fill_zero(out, g.src_channels * taps * width);
  const bool every_tap = g.rows.dst_step == 1 && g.columns.dst_step == 1;
  if (every_tap && stride[3] == 1 && (r == 1 || stride[2] == s)) {
    if (src_stride == taps) {
      return transpose_copy<S, T, T>(weight, dst_stride, valid, g.src_channels * taps, out, width,
                                     nullptr);
    }
    if (dst_stride > 1) {
      for (int64_t c = 0; c < g.src_channels; ++c) {
        transpose_copy<S, T, T>(weight + c * src_stride, dst_stride, valid, taps,
                                out + c * taps * width, width, nullptr);
      }
      return;
    }
  }
  for (int64_t pr = 0; pr < g.rows.phases; ++pr) {
    const AxisPhase rows = g.rows.phase(pr);
    for (int64_t pc = 0; pc < g.columns.phases; ++pc) {
      const AxisPhase columns = g.columns.phase(pc);
      const int64_t phase_taps = rows.taps * columns.taps;
      for (int64_t tap = 0; tap < phase_taps; ++tap) {
        const int64_t i = rows.kernel_first + tap / columns.taps * rows.kernel_step,
                      j = columns.kernel_first + tap % columns.taps * columns.kernel_step;
        const S* const at = weight + i * stride[2] + j * stride[3];
        T* const to = out + tap * width;
        if (src_stride == 1 && dst_stride > 1) {
          transpose_copy<S, T, T>(at, dst_stride, valid, g.src_channels, to, phase_taps * width,
                                  nullptr);
          continue;
        }
        for (int64_t c = 0; c < g.src_channels; ++c) {
          T* const lanes = to + c * phase_taps * width;
          if (dst_stride == 1) {
            copy_run<S, T, T>(at + c * src_stride, lanes, valid, nullptr);
          } else {
            for (int64_t l = 0; l < valid; ++l)
              lanes[l] = to_compute(at[c * src_stride + l * dst_stride]);
          }
        }
      }
      out += g.src_channels * phase_taps * width;
    }
  }
}

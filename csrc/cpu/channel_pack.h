// Packs weights for the lanes: shared by the algorithms that broadcast pixels against them and those
// that broadcast them against pixels. Included inside the namespace of each isa_*.cpp.
#pragma once

// As transpose_copy, with surplus lanes up to `width`; returns whether all was finite, which is
// looked at while it is in the cache.
template <class S>
bool pack_rows(const S* in, int64_t in_stride, int64_t valid, int64_t columns, int64_t width,
               Compute<S>* out) {
  using T = Compute<S>;
  constexpr int64_t kRun = 128;
  bool finite = true;
  for (int64_t run = 0; run < columns; run += kRun) {
    const int64_t count = smaller(kRun, columns - run);
    transpose_copy<S, T, T>(in + run, in_stride, valid, count, out + run * width, width, nullptr);
    finite = finite && all_finite(out + run * width, count * width);
  }
  return finite;
}

// Packs the lanes [lane, lane + valid) of one group's destination channels, for the source channels
// [c_begin, c_begin + channels); returns whether all of them are finite.
template <class S>
bool pack_panel(const Task& task, const Gather& g, int64_t group, int64_t lane, int64_t valid,
                int64_t width, int64_t c_begin, int64_t channels, Compute<S>* out) {
  using T = Compute<S>;
  const bool forward = task.op == Op::kForward;
  const int64_t* stride = task.weight_stride;
  // The weight of destination lane i and source channel c: at i * dst_stride + c * src_stride.
  const int64_t dst_stride = forward ? stride[0] : stride[1],
                src_stride = forward ? stride[1] : stride[0];
  const int64_t group_at = group * task.shape.k_per_group() * stride[0];
  const S* const weight =
      (const S*)task.weight + group_at + lane * dst_stride + c_begin * src_stride;
  const int64_t taps = g.taps(), r = g.rows.kernel, s = g.columns.kernel;
  if (valid < width) fill_zero(out, channels * taps * width);
  const bool every_tap = g.rows.dst_step == 1 && g.columns.dst_step == 1;
  if (every_tap && stride[3] == 1 && (r == 1 || stride[2] == s)) {
    if (src_stride == taps) {
      return pack_rows(weight, dst_stride, valid, channels * taps, width, out);
    }
    if (dst_stride > 1) {
      bool finite = true;
      for (int64_t c = 0; c < channels; ++c, out += taps * width) {
        finite &= pack_rows(weight + c * src_stride, dst_stride, valid, taps, width, out);
      }
      return finite;
    }
  }
  const T* const begin = out;
  for (int64_t pr = 0; pr < g.rows.phases; ++pr) {
    const AxisPhase rows = g.rows.phase(pr);
    for (int64_t pc = 0; pc < g.columns.phases; ++pc) {
      const AxisPhase columns = g.columns.phase(pc);
      const int64_t phase_taps = rows.taps * columns.taps;
      const auto tap_at = [&](int64_t tap) {
        return weight + (rows.kernel_first + tap / columns.taps * rows.kernel_step) * stride[2] +
               (columns.kernel_first + tap % columns.taps * columns.kernel_step) * stride[3];
      };
      if (src_stride == 1 && dst_stride > 1) {
        for (int64_t tap = 0; tap < phase_taps; ++tap) {
          transpose_copy<S, T, T>(tap_at(tap), dst_stride, valid, channels, out + tap * width,
                                  phase_taps * width, nullptr);
        }
        out += channels * phase_taps * width;
        continue;
      }
      for (int64_t c = 0; c < channels; ++c) {
        for (int64_t tap = 0; tap < phase_taps; ++tap, out += width) {
          const S* const at = tap_at(tap) + c * src_stride;
          if (dst_stride == 1) {
            // Lines far apart: no hardware prefetcher sees the next one coming.
            __builtin_prefetch(at + src_stride);
            copy_run<S, T, T>(at, out, valid, nullptr);
            continue;
          }
          for (int64_t l = 0; l < valid; ++l) out[l] = to_compute(at[l * dst_stride]);
        }
      }
    }
  }
  return all_finite(begin, out - begin);
}

// Which runs of pixels (pixel_run.h) make some columns of a row: the same for every row, so they are worked out once
// for all rows of a job.
#pragma once

#include "cpu/depthwise/pixel_run_kernels.h"
#include "cpu/depthwise/store.h"

namespace torchconv::cpu {
namespace {

template <class X>
struct PlannedRun {
  DepthwiseRunKernel<X> kernel;
  bool any_taps;
  uint64_t inside;             // DepthwiseRun::inside, for these source columns:
  int64_t column, unit, seen;  // the first, from one to the next, how many
  int64_t x, x_column;         // elements from column 0 of the source to the first, and to the next
  int64_t taps, w, w_tap;      // of a row; elements from its weights to the first, and to the next
  int64_t out, out_step, wide;  // destination columns: the first, to the next, from run to run
};

// Of the columns that a view has of a source, with padding left out or not, or repeated.
template <class X>
struct RunColumns {
  const Gather& gather;
  const DepthwisePlan& plan;
  const DepthwiseView<X>& view;
  bool skip_padding, repeats;

  // Which of the source columns first, first + unit, ... a run may read: bit j for the j-th. Without
  // skipping, padding is in memory.
  uint64_t inside(int64_t first, int64_t unit, int64_t count) const {
    const int64_t last = first + (count - 1) * unit;
    const auto [begin, end] = repeats ? Range{view.column, view.column + gather.src_width()}
                                      : Range{0, gather.columns.src_size};
    const uint64_t all = first_columns(count);
    if (!skip_padding || (smaller(first, last) >= begin && larger(first, last) < end)) return all;
    uint64_t inside = 0;
    for (int64_t j = 0; j < count; ++j) {
      const int64_t column = first + j * unit;
      if (column >= begin && column < end) inside |= (uint64_t)1 << j;
    }
    return inside;
  }

  // Whether both phases of these destination columns have a kernel that computes them at once.
  bool spread(Range of) const {
    const Axis& axis = gather.columns;
    const DepthwiseSpread<X> spread = depthwise_spread<X>(axis.kernel, false);
    return axis.dst_step == 2 && axis.src_step == 1 && axis.dilation == 1 && spread.run &&
           of.end - of.begin >= spread.pixels;
  }

  // The runs of these destination columns. `few`: padding hides most of their taps.
  template <class F>
  void each_run(Range of, bool few, const F& f) const {
    const int64_t phases = gather.columns.phases, step = gather.columns.dst_step;
    const auto position = [&](int64_t column, int64_t phase) {
      return ceil_div(larger(0, column - phase), step);
    };
    // The phases of a few columns write neighbouring pixels: they take turns.
    const int64_t end = position(of.end, 0);
    const int64_t turn = phases > 1 ? kRunPixels : end;
    for (int64_t j = position(of.begin, phases - 1); j < end; j += turn) {
      for (int64_t pc = 0; pc < phases; ++pc) {
        const int64_t first = larger(j, position(of.begin, pc)),
                      last = smaller(position(of.end, pc), j + turn);
        AxisPhase phase = gather.columns.phase(pc);
        if (few && skip_padding && !repeats && first < last) leave_out_taps(phase, first, last);
        runs_of_phase(phase, first, last, f);
      }
    }
  }

  // Those that see only padding from positions [first, last).
  void leave_out_taps(AxisPhase& phase, int64_t first, int64_t last) const {
    int64_t begin, end;
    inner_taps(gather.columns, phase, first, last - 1, begin, end);
    phase.kernel_first += begin * phase.kernel_step, phase.src_first += begin * phase.src_delta;
    phase.taps = end - begin;
  }

  // Pixels that are a tap apart share source columns: they make a run.
  template <class F>
  void runs_of_phase(const AxisPhase& phase, int64_t from, int64_t to, const F& f) const {
    const bool many = phase.taps > 1;
    const int64_t step = many ? gather.columns.src_step : 1;
    const int64_t unit = many ? phase.src_delta : gather.columns.src_step;
    const int64_t apart = many ? larger(unit, -unit) : 1;
    PlannedRun<X> run;
    run.any_taps = phase.taps > 0;
    run.taps = larger(1, phase.taps);
    run.w = phase.kernel_first * plan.weights.step;
    run.w_tap = phase.kernel_step * plan.weights.step;
    run.unit = unit;
    run.x_column = many ? unit * view.column_pitch : view.dst_pitch;
    run.out_step = (unit < 0 ? -apart : apart) * gather.columns.dst_step;
    for (int64_t first = from; first < smaller(from + apart, to); ++first) {
      const int64_t count = ceil_div(to - first, apart);
      const int64_t runs = ceil_div(count, run_pixels<X>(run.taps, step)),
                    most = ceil_div(count, runs);
      const int64_t longer = count - runs * (most - 1);  // the first ones
      run.wide = most * apart * gather.columns.dst_step;
      for (int64_t i = 0, begin = 0, end; i < runs; ++i, begin = end) {
        end = begin + (i < longer ? most : most - 1);
        // Columns are looked at in the order of the taps.
        const int64_t nearest = first + (unit < 0 ? end - 1 : begin) * apart;
        run.x = (phase.src_first - view.column) * view.column_pitch + nearest * view.dst_pitch;
        run.column = nearest * gather.columns.src_step + phase.src_first;
        run.seen = (end - begin - 1) * step + phase.taps;
        run.inside = inside(run.column, unit, run.seen);
        run.out = phase.dst_first + nearest * gather.columns.dst_step;
        run.kernel = depthwise_run_kernel<X>(run.taps, step, end - begin);
        f(run);
      }
    }
  }
};

template <class X>
struct RunList {
  static constexpr int64_t kMost = 32;  // longer ones are worked out anew for each row
  Range columns;
  bool few;
  int64_t count = 0;
  PlannedRun<X> runs[kMost];

  RunList(const RunColumns<X>& all, Range columns, bool few) : columns(columns), few(few) {
    if (all.spread(columns)) return;
    all.each_run(columns, few, [&](const PlannedRun<X>& run) {
      if (count < kMost) runs[count] = run;
      ++count;
    });
  }
  template <class F>
  void each(const RunColumns<X>& all, const F& f) const {
    if (count > kMost) return all.each_run(columns, few, f);
    for (int64_t i = 0; i < count; ++i) f(runs[i]);
  }
};

}  // namespace
}  // namespace torchconv::cpu

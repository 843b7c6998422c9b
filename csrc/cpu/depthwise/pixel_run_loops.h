// The loops of depthwise over runs of pixels: channels in the lanes, kernels of up to kRunTaps taps in a
// row, one destination row after the other.
#pragma once

#include "cpu/depthwise/fold.h"
#include "cpu/depthwise/run_list.h"

namespace torchconv::cpu {
namespace {

// Constructed where these kernels apply.
template <class S, class X>
struct DepthwiseRunLoops {
  using T = Compute<S>;
  using Finish = typename Destination<X>::Finish;
  const DepthwiseRows<S, X>& job;
  const Gather& gather;
  const DepthwisePlan& plan;
  const DepthwiseView<X>& view;
  const Destination<X> destination;
  const T* const bias;  // that tiles add, or null
  bool fetches;         // what the caches will not hold is asked for ahead of time
  bool past_caches;     // go whole cache lines of the result
  int64_t batch;        // blocks that go down all rows before the next ones
  const RunColumns<X> all_columns;
  // Of a row; where its rim is folded, whole is a row of that.
  const RunList<X> whole, inside, to_the_left, to_the_right;

  explicit DepthwiseRunLoops(const DepthwiseRows<S, X>& rows)
      : job(rows),
        gather(rows.gather),
        plan(rows.plan),
        view(rows.view),
        destination(rows.destination()),
        bias(destination.stores_bias() ? nullptr : rows.bias),
        all_columns{gather, plan, view, rows.skip_padding, rows.repeats()},
        whole(all_columns, {0, gather.columns.dst_size}, false),
        inside(all_columns, folded({plan.folded.left, plan.folded.left + plan.width(gather)}),
               false),
        to_the_left(all_columns, {0, plan.folded.left}, true),
        to_the_right(all_columns, {plan.folded.left + plan.width(gather), gather.columns.dst_size},
                     true) {
    fetches = plan.unpadded == DepthwisePlan::Unpadded::kInPlace && job.in_place &&
              job.exceeds(cost::kFetchBytes);
    past_caches = destination.finish == Finish::kNothing && job.stores_lines() &&
                  job.dst_channels() % kLaneBlock<T> == 0;
    const int64_t fitting = cost::kRunWeightBytes / (plan.weight_block() * (int64_t)sizeof(T));
    batch = round_up(larger(1, fitting), job.even_odd ? 2 : 1);
  }

  Range folded(Range columns) const { return plan.folded.any() ? columns : Range{0, 0}; }

  void run() const {
    const int64_t row_end = smaller(job.row_begin + plan.rows.size, gather.rows.longest);
    for (int64_t b = 0; b < job.blocks; b += batch) {
      const Range blocks = {b, smaller(job.blocks, b + batch)};
      for (int64_t i = job.row_begin; i < row_end; ++i) {
        for (int64_t pr = 0; pr < gather.rows.phases; ++pr) {
          const AxisPhase rows = gather.rows.phase(pr);
          if (i < rows.size) run_row(rows, i, blocks);
        }
      }
      if (plan.folded.any()) fold(blocks);
    }
    job.store_rest();
  }

  // Of some blocks: channels that a pixel has of them where it is stored.
  int64_t stored_channels(Range blocks) const {
    if (destination.finish != Finish::kNothing) return (blocks.end - blocks.begin) * plan.lanes;
    const int64_t lane = blocks.begin * plan.lanes;
    return smaller(blocks.end * plan.lanes, job.channel_count()) - lane;
  }

  FoldedRim<X> rim(Range blocks) const {
    return {(X*)job.folded, stored_channels(blocks), plan.height(gather), plan.width(gather),
            plan.folded};
  }

  void fold(Range blocks) const {
    const FoldedRim<X> rim = this->rim(blocks);
    if (destination.finish == Finish::kRows) {
      const int64_t pixel = job.dst_channels();
      rim.template add_to<S>(job.pixel(0, 0), rim.width * pixel, pixel, job.channel_count());
    } else {
      X* const image = destination.base + blocks.begin * plan.lanes;
      rim.template add_to<S>(image, destination.row_pitch, destination.phase_pitch, rim.pixel);
    }
  }

  // Where a run whose padding repeats elements finds its rows and columns.
  struct Repeated {
    bool any_row;
    int64_t rows[kMostRunRows], columns[kRunColumns];
  };

  struct Row {
    const X *x, *fetch;  // column 0 of the source, and of the rows that only the next row reads
    const T *w, *w_even_odd;
    X* out;         // column 0 of the destination
    int64_t pixel;  // elements to the next
    int64_t tap_end;
  };

  // Destination position i of the phase.
  void run_row(const AxisPhase& rows, int64_t i, Range blocks) const {
    DepthwiseRun<X> t;
    Repeated repeated;
    t.begin = 0, t.end = rows.taps;
    if (job.skip_padding) inner_taps(gather.rows, rows, i, i, t.begin, t.end);
    const int64_t lane = blocks.begin * plan.lanes;
    t.x_row = rows.src_delta * view.row_pitch;
    t.w_row = rows.kernel_step * plan.weights.row, t.w_block = plan.weight_block();
    t.planes = gather.src_channels, t.x_plane = plan.patch.plane_pitch;
    t.w_plane = plan.weights.plane;
    t.channels = stored_channels(blocks);
    t.bias = bias ? bias + lane : nullptr;
    t.past_caches = past_caches;
    t.fetch.rows =
        fetches && rows.dst_first == 0 ? gather.rows.src_step : 0;  // once for all phases
    t.fetch.row_pitch = view.row_pitch;
    const int64_t source = i * gather.rows.src_step + rows.src_first;
    repeated.any_row = job.repeats() && repeat_rows(rows, source, repeated.rows);
    t.repeated_rows = repeated.rows, t.repeated_columns = nullptr;
    const int64_t below = source + larger(0, (rows.taps - 1) * rows.src_delta) + 1;
    const int64_t dst_row = rows.dst_first + i * gather.rows.dst_step;
    Row row = {
        view.origin + (source - view.row) / view.row_skip * view.row_pitch + lane,
        fetches ? view.origin + (below - view.row) * view.row_pitch + lane : nullptr,
        job.weights + blocks.begin * plan.weight_block() + rows.kernel_first * plan.weights.row,
        job.even_odd ? job.even_odd + blocks.begin * plan.weight_block() +
                           2 * rows.kernel_first * plan.weights.row
                     : nullptr,
        nullptr,
        destination.phase_pitch,
        t.end};
    if (plan.folded.any()) return run_folded_row(t, row, repeated, dst_row, blocks);
    row.out = destination.row(dst_row) + lane;
    run_part(t, row, whole, repeated);
    if (destination.finish == Finish::kRows) job.store_row(0, dst_row);
  }

  // Columns of a row.
  void run_part(DepthwiseRun<X>& t, const Row& row, const RunList<X>& list,
                Repeated& repeated) const {
    if (all_columns.spread(list.columns)) return run_spread(t, row, list.columns);
    list.each(all_columns, [&](const PlannedRun<X>& run) { run_planned(t, row, run, repeated); });
  }

  // The rim goes elsewhere.
  void run_folded_row(DepthwiseRun<X>& t, Row row, Repeated& repeated, int64_t dst_row,
                      Range blocks) const {
    const FoldedRim<X> rim = this->rim(blocks);
    const int64_t y = dst_row - rim.around.top, left = rim.around.left;
    if (y >= 0 && y < rim.height) {
      row.out = destination.row(y) - left * row.pixel + blocks.begin * plan.lanes;
      run_part(t, row, inside, repeated);
      if (destination.finish == Finish::kRows) job.store_row(0, y);
    }
    row.fetch = nullptr, row.pixel = rim.pixel;
    if (y < 0 || y >= rim.height) {
      row.out = rim.row(y);
      return run_part(t, row, whole, repeated);
    }
    row.out = rim.columns(y);
    run_part(t, row, to_the_left, repeated);
    row.out -= rim.width * rim.pixel;
    run_part(t, row, to_the_right, repeated);
  }

  // From tap row 0, source row `source`, to each tap row of a run; whether some of them are padding.
  bool repeat_rows(const AxisPhase& rows, int64_t source, int64_t* at) const {
    bool any = false;
    for (int64_t r = 0; r < rows.taps; ++r) {
      const int64_t y = source + r * rows.src_delta - view.row;
      const int64_t element = gather.margins.row(y, gather.src_height());
      any = any || element != y;
      at[r] = (element + view.row - source) * view.row_pitch;
    }
    return any;
  }

  // From the source column `first` to those at first, first + unit, ...
  void repeat_columns(int64_t first, int64_t unit, int64_t count, int64_t* at) const {
    for (int64_t j = 0; j < count; ++j) {
      const int64_t x = first + j * unit - view.column;
      at[j] =
          (gather.margins.column(x, gather.src_width()) + view.column - first) * view.column_pitch;
    }
  }

  // Elements from a run to those whose cache lines it asks for; a run writes so many.
  int64_t ahead(const DepthwiseRun<X>& t, int64_t elements) const {
    return ceil_div(cost::kFetchLines * plan.lanes, t.channels) * elements;
  }

  // The last run of a row repeats some columns that the one before it did.
  void run_spread(DepthwiseRun<X>& t, const Row& row, Range of) const {
    const Axis& axis = gather.columns;
    const int64_t pitch = row.pixel;
    t.w = row.w, t.w_even_odd = row.w_even_odd, t.w_tap = plan.weights.step;
    t.x_column = -view.column_pitch, t.out_step = pitch;
    int64_t pixels = 1;
    for (int64_t j = of.begin; j < of.end; j += pixels) {
      j = smaller(j, of.end - depthwise_spread<X>(axis.kernel, false).pixels);
      const int64_t place = j + axis.padding;
      const DepthwiseSpread<X> spread = depthwise_spread<X>(axis.kernel, place % 2);
      pixels = spread.pixels;
      const int64_t last = place / 2 + spread.last;
      const int64_t at = (last - view.column) * view.column_pitch;
      t.inside = all_columns.inside(last, -1, spread.columns);
      t.x = row.x + at;
      t.fetch.next = row.fetch ? row.fetch + at : nullptr;
      t.fetch.ahead = ahead(t, pixels * pitch);
      t.out = row.out + j * pitch;
      spread.run(t);
    }
  }

  void run_planned(DepthwiseRun<X>& t, const Row& row, const PlannedRun<X>& run,
                   Repeated& repeated) const {
    t.end = run.any_taps ? row.tap_end : t.begin;
    t.w = row.w + run.w, t.w_tap = run.w_tap, t.taps = run.taps;
    t.w_even_odd = row.w_even_odd ? row.w_even_odd + 2 * run.w : nullptr;
    t.x = row.x + run.x, t.x_column = run.x_column, t.inside = run.inside;
    if (job.repeats()) {
      const bool any = repeated.any_row || run.inside != first_columns(run.seen);
      if (any) repeat_columns(run.column, run.unit, run.seen, repeated.columns);
      t.repeated_columns = any ? repeated.columns : nullptr;
    }
    t.fetch.next = row.fetch ? row.fetch + run.x : nullptr;
    t.fetch.ahead = row.fetch ? ahead(t, run.wide * row.pixel) : 0;
    t.out = row.out + run.out * row.pixel, t.out_step = run.out_step * row.pixel;
    run.kernel(t);
  }
};

}  // namespace
}  // namespace torchconv::cpu

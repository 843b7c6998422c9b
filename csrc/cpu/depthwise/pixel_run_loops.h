// The loops of depthwise over runs of pixels: channels in the lanes, kernels of up to kRunTaps taps in a
// row, one destination row after the other.
#pragma once

#include "cpu/depthwise/pixel_run_kernels.h"
#include "cpu/depthwise/store.h"

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
  int64_t batch;        // blocks that go down all rows before the next ones
  AxisPhase columns[kFewPhases];

  explicit DepthwiseRunLoops(const DepthwiseRows<S, X>& rows)
      : job(rows),
        gather(rows.gather),
        plan(rows.plan),
        view(rows.view),
        destination(rows.destination()),
        bias(destination.stores_bias() ? nullptr : rows.bias) {
    for (int64_t i = 0; i < gather.columns.phases; ++i) columns[i] = gather.columns.phase(i);
    const double pixels = (double)gather.rows.src_size * (double)gather.columns.src_size +
                          (double)gather.rows.dst_size * (double)gather.columns.dst_size;
    fetches = plan.unpadded == DepthwisePlan::Unpadded::kInPlace && job.in_place &&
              pixels * (double)(gather.n * job.dst_channels()) * sizeof(X) > cost::kFetchBytes;
    const int64_t fitting = cost::kRunWeightBytes / (plan.weight_block() * (int64_t)sizeof(T));
    batch = round_up(larger(1, fitting), job.even_odd ? 2 : 1);
  }

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
    }
    job.store_rest();
  }

  // Where a run whose padding repeats elements finds its rows and columns.
  struct Repeated {
    bool any_row;
    int64_t rows[kMostRunRows], columns[kRunColumns];
  };

  struct Row {
    const X *x, *fetch;  // column 0 of the source, and of the rows that only the next row reads
    const T *w, *w_even_odd;
    X* out;
  };

  // Destination position i of the phase.
  void run_row(const AxisPhase& rows, int64_t i, Range blocks) const {
    DepthwiseRun<X> t;
    Repeated repeated;
    t.begin = 0, t.end = rows.taps;
    if (job.skip_padding) inner_taps(gather.rows, rows, i, i, t.begin, t.end);
    const int64_t lane = blocks.begin * plan.lanes;
    const bool in_result = destination.finish == Finish::kNothing;
    t.x_row = rows.src_delta * view.row_pitch;
    t.w_row = rows.kernel_step * plan.weights.row, t.w_block = plan.weight_block();
    t.planes = gather.src_channels, t.x_plane = plan.patch.plane_pitch;
    t.w_plane = plan.weights.plane;
    t.channels =
        in_result ? smaller(blocks.end * plan.lanes, job.channel_count()) - lane : plan.lanes;
    t.bias = bias ? bias + lane : nullptr;
    t.fetch.rows =
        fetches && rows.dst_first == 0 ? gather.rows.src_step : 0;  // once for all phases
    t.fetch.row_pitch = view.row_pitch;
    const int64_t source = i * gather.rows.src_step + rows.src_first;
    repeated.any_row = job.repeats() && repeat_rows(rows, source, repeated.rows);
    t.repeated_rows = repeated.rows, t.repeated_columns = nullptr;
    const int64_t below = source + larger(0, (rows.taps - 1) * rows.src_delta) + 1;
    const int64_t dst_row = rows.dst_first + i * gather.rows.dst_step;
    const Row row = {
        view.origin + (source - view.row) / view.row_skip * view.row_pitch + lane,
        view.origin + (below - view.row) * view.row_pitch + lane,
        job.weights + blocks.begin * plan.weight_block() + rows.kernel_first * plan.weights.row,
        job.even_odd ? job.even_odd + blocks.begin * plan.weight_block() +
                           2 * rows.kernel_first * plan.weights.row
                     : nullptr,
        destination.row(dst_row) + (in_result ? lane : 0)};
    if (spreads()) {
      run_spread(t, row);
    } else {
      run_phases(t, row, repeated);
    }
    if (destination.finish == Finish::kRows) job.store_row(0, dst_row);
  }

  // The phases of a few columns write neighbouring pixels: they take turns.
  void run_phases(DepthwiseRun<X>& t, const Row& row, Repeated& repeated) const {
    const int64_t begin = t.begin, end = t.end, longest = gather.columns.longest;
    const int64_t turn = gather.columns.phases > 1 ? kRunPixels : longest;
    for (int64_t j = 0; j < longest; j += turn) {
      for (int64_t pc = 0; pc < gather.columns.phases; ++pc) {
        t.end = columns[pc].taps ? end : begin;
        run_columns(t, columns[pc], row, j, smaller(columns[pc].size, j + turn), repeated);
      }
    }
  }

  // Both phases of the columns have a kernel that computes them at once.
  bool spreads() const {
    const Axis& axis = gather.columns;
    const DepthwiseSpread<X> spread = depthwise_spread<X>(axis.kernel, false);
    return axis.dst_step == 2 && axis.src_step == 1 && axis.dilation == 1 && spread.run &&
           axis.dst_size >= spread.pixels;
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

  // Which of the source columns first, first + unit, ... a run may read: bit j for the j-th. Without
  // skipping, padding is in memory.
  uint64_t columns_inside(int64_t first, int64_t unit, int64_t count) const {
    const int64_t last = first + (count - 1) * unit;
    const auto [begin, end] = job.repeats() ? Range{view.column, view.column + gather.src_width()}
                                            : Range{0, gather.columns.src_size};
    const uint64_t all = first_columns(count);
    if (!job.skip_padding || (smaller(first, last) >= begin && larger(first, last) < end)) {
      return all;
    }
    uint64_t inside = 0;
    for (int64_t j = 0; j < count; ++j) {
      const int64_t column = first + j * unit;
      if (column >= begin && column < end) inside |= (uint64_t)1 << j;
    }
    return inside;
  }

  // Elements from a run to those whose cache lines it asks for; a run writes so many.
  int64_t ahead(const DepthwiseRun<X>& t, int64_t elements) const {
    return ceil_div(cost::kFetchLines * plan.lanes, t.channels) * elements;
  }

  // The last run of a row repeats some columns that the one before it did.
  void run_spread(DepthwiseRun<X>& t, const Row& row) const {
    const Axis& axis = gather.columns;
    const int64_t pitch = destination.phase_pitch;
    t.w = row.w, t.w_even_odd = row.w_even_odd, t.w_tap = plan.weights.step;
    t.x_column = -view.column_pitch, t.out_step = pitch;
    int64_t pixels = 1;
    for (int64_t j = 0; j < axis.dst_size; j += pixels) {
      j = smaller(j, axis.dst_size - depthwise_spread<X>(axis.kernel, false).pixels);
      const int64_t place = j + axis.padding;
      const DepthwiseSpread<X> spread = depthwise_spread<X>(axis.kernel, place % 2);
      pixels = spread.pixels;
      const int64_t last = place / 2 + spread.last;
      const int64_t at = (last - view.column) * view.column_pitch;
      t.inside = columns_inside(last, -1, spread.columns);
      t.x = row.x + at;
      t.fetch.next = fetches ? row.fetch + at : nullptr;
      t.fetch.ahead = ahead(t, pixels * pitch);
      t.out = row.out + j * pitch;
      spread.run(t);
    }
  }

  // Pixels that are a tap apart share source columns: they make a run.
  void run_columns(DepthwiseRun<X>& t, const AxisPhase& phase, const Row& row, int64_t from,
                   int64_t to, Repeated& repeated) const {
    const bool many = phase.taps > 1;
    const int64_t step = many ? gather.columns.src_step : 1;
    const int64_t unit = many ? phase.src_delta : gather.columns.src_step;
    const int64_t apart = many ? larger(unit, -unit) : 1;
    const int64_t pitch = destination.column_pitch, taps = larger(1, phase.taps);
    const int64_t x_first = (phase.src_first - view.column) * view.column_pitch;
    t.w = row.w + phase.kernel_first * plan.weights.step, t.taps = taps;
    t.w_even_odd =
        row.w_even_odd ? row.w_even_odd + 2 * phase.kernel_first * plan.weights.step : nullptr;
    t.w_tap = phase.kernel_step * plan.weights.step;
    t.x_column = many ? unit * view.column_pitch : view.dst_pitch;
    t.out_step = (unit < 0 ? -apart : apart) * pitch;
    for (int64_t first = from; first < smaller(from + apart, to); ++first) {
      const int64_t count = ceil_div(to - first, apart);
      const int64_t runs = ceil_div(count, run_pixels<X>(taps, step)), most = ceil_div(count, runs);
      const int64_t longer = count - runs * (most - 1);  // the first ones
      const DepthwiseRunKernel<X> kernel[2] = {
          depthwise_run_kernel<X>(taps, step, larger(1, most - 1)),
          depthwise_run_kernel<X>(taps, step, most)};
      t.fetch.ahead = ahead(t, most * apart * pitch);
      for (int64_t i = 0, begin = 0, end; i < runs; ++i, begin = end) {
        end = begin + (i < longer ? most : most - 1);
        // Columns are looked at in the order of the taps.
        const int64_t nearest = first + (unit < 0 ? end - 1 : begin) * apart;
        const int64_t at = x_first + nearest * view.dst_pitch;
        const int64_t column = nearest * gather.columns.src_step + phase.src_first;
        const int64_t seen = (end - begin - 1) * step + phase.taps;
        t.inside = columns_inside(column, unit, seen);
        if (job.repeats()) {
          const bool any = repeated.any_row || t.inside != first_columns(seen);
          if (any) repeat_columns(column, unit, seen, repeated.columns);
          t.repeated_columns = any ? repeated.columns : nullptr;
        }
        t.x = row.x + at;
        t.fetch.next = fetches ? row.fetch + at : nullptr;
        t.out = row.out + phase.dst_first * destination.phase_pitch + nearest * pitch;
        kernel[end - begin == most](t);
      }
    }
  }
};

}  // namespace
}  // namespace torchconv::cpu

// The loops of depthwise over runs: channels in the lanes, kernels of up to kRunTaps taps in a row,
// one destination row after the other. Included inside the namespace of each isa_*.cpp.
#pragma once

template <class S, class X>
struct DepthwiseRunRows {
  using T = Compute<S>;
  const DepthwiseRows<S, X>& d;
  const Gather& g;
  const DepthwisePlan& z;
  const DepthwiseView<X>& view;
  bool fetch;  // what the caches will not hold is asked for ahead of time
  int64_t group, strip;
  AxisPhase columns[kFewPhases];

  explicit DepthwiseRunRows(const DepthwiseRows<S, X>& rows)
      : d(rows), g(rows.g), z(rows.z), view(rows.view) {
    const double pixels = (double)g.rows.src_size * (double)g.columns.src_size +
                          (double)g.rows.dst_size * (double)g.columns.dst_size;
    fetch = z.in_place && d.in_place &&
            pixels * (double)(g.n * d.dst_channels()) * sizeof(X) > kFetchBytes;
    for (int64_t i = 0; i < smaller(kFewPhases, g.columns.phases); ++i)
      columns[i] = g.columns.phase(i);
    // A strip of columns goes down all rows, so that its source stays in the L1 cache.
    const int64_t rows_seen = g.rows.src_high - g.rows.src_low + 1;
    const int64_t halo = g.columns.src_high - g.columns.src_low;
    const int64_t step = g.columns.src_step, least = kRunPixels * step + halo;
    group = larger(1, smaller(z.group_blocks, kStripLines / (rows_seen * least)));
    strip = larger(1, (kStripLines / (rows_seen * group) - halo) / step / kRunPixels) * kRunPixels;
    if (!d.in_place) group = d.blocks;
    if ((d.detour() && !d.whole()) || g.taps() < kStripTaps) {
      group = d.in_place ? z.group_blocks : d.blocks;
      strip = g.columns.longest;
    }
  }

  // Every phase has a kernel that takes its taps of a row at once.
  bool applies() const {
    if (!z.channel_lanes || g.columns.phases > kFewPhases) return false;
    for (int64_t i = 0; i < g.columns.phases; ++i) {
      if (columns[i].taps > kRunTaps) return false;
      if (columns[i].taps > 1 && g.columns.src_step > 1 &&
          (columns[i].src_delta != 1 ||
           !depthwise_run_kernel<X>(columns[i].taps, g.columns.src_step, 1))) {
        return false;
      }
    }
    return true;
  }

  void run() const {
    for (int64_t b = 0; b < d.blocks; b += group) {
      for (int64_t at = 0; at < g.columns.longest; at += strip) {
        const int64_t end = smaller(d.row_begin + z.rows, g.rows.longest);
        for (int64_t i = d.row_begin; i < end; ++i) {
          for (int64_t pr = 0; pr < g.rows.phases; ++pr) {
            const AxisPhase rows = g.rows.phase(pr);
            if (i < rows.size) run_row(rows, i, b, smaller(d.blocks, b + group), at);
          }
        }
      }
    }
    if (d.whole()) d.store_whole();
  }

  // Destination position i of the phase.
  void run_row(const AxisPhase& rows, int64_t i, int64_t block_begin, int64_t block_end,
               int64_t column) const {
    DepthwiseRun<X> t;
    t.begin = 0, t.end = rows.taps;
    if (d.skip_padding) inner_taps(g.rows, rows, i, i, t.begin, t.end);
    const int64_t lane = block_begin * z.lanes;
    t.x_row = rows.src_delta * view.row_pitch;
    t.w_row = rows.kernel_step * z.weight_row, t.w_block = z.weight_block();
    t.planes = g.src_channels, t.x_plane = z.band.plane_pitch, t.w_plane = z.weight_plane;
    t.channels = d.detour() ? z.lanes : smaller(block_end * z.lanes, d.channel_count()) - lane;
    t.bias = d.detour() || !d.bias ? nullptr : d.bias + lane;
    const int64_t source = i * g.rows.src_step + rows.src_first;
    const int64_t below = source + larger(0, (rows.taps - 1) * rows.src_delta) + 1;
    t.fetch_rows = fetch && rows.dst_first == 0 ? g.rows.src_step : 0;  // once for all phases
    t.fetch_row = view.row_pitch;
    const int64_t row = rows.dst_first + i * g.rows.dst_step;
    const int64_t pitch = d.detour() ? z.lanes : d.dst_channels();
    Row at = {view.origin + (source - view.row) / view.row_skip * view.row_pitch + lane,
              view.origin + below * view.row_pitch + lane,
              d.weights + block_begin * z.weight_block() + rows.kernel_first * z.weight_row,
              (X*)d.sums, pitch};
    if (d.whole()) at.out += (row - d.row_begin * g.rows.dst_step) * g.columns.dst_size * z.lanes;
    if (!d.detour()) at.out = (X*)d.pixel(row, 0) + lane;
    const int64_t begin = t.begin, end = t.end, last = column + strip;
    if (spreads()) {
      const int64_t step = g.columns.dst_step, width = g.columns.dst_size;
      run_spread(t, at, column * step, smaller(width, last * step));
      if (d.detour() && !d.whole()) d.store_row(0, row);
      return;
    }
    // The phases of a few columns write neighbouring pixels: they take turns.
    const int64_t turn = g.columns.phases > 1 ? kRunPixels : strip;
    for (int64_t j = column; j < smaller(last, g.columns.longest); j += turn) {
      for (int64_t pc = 0; pc < g.columns.phases; ++pc) {
        t.end = columns[pc].taps ? end : begin;
        run_columns(t, columns[pc], at, j, smaller(columns[pc].size, smaller(last, j + turn)));
      }
    }
    if (d.detour() && !d.whole()) d.store_row(0, row);
  }

  struct Row {
    const X *x, *fetch;
    const T* w;
    X* out;
    int64_t pitch;  // from one destination pixel to the next
  };

  // Both phases of the columns have a kernel that computes them at once.
  bool spreads() const {
    const Axis& a = g.columns;
    const DepthwiseSpread<X> spread = depthwise_spread<X>(a.kernel, false);
    return a.dst_step == 2 && a.src_step == 1 && a.dilation == 1 && spread.run &&
           a.dst_size >= spread.pixels;
  }

  // Destination columns [from, to); the last run of a row repeats some that the one before it did.
  void run_spread(DepthwiseRun<X>& t, const Row& row, int64_t from, int64_t to) const {
    t.w = row.w, t.w_tap = z.weight_step;
    t.x_column = -view.column_pitch, t.out_step = row.pitch;
    int64_t pixels = 1;
    for (int64_t j = from; j < to; j += pixels) {
      j = smaller(j, g.columns.dst_size - depthwise_spread<X>(g.columns.kernel, false).pixels);
      const int64_t place = j + g.columns.padding;
      const DepthwiseSpread<X> spread = depthwise_spread<X>(g.columns.kernel, place % 2);
      pixels = spread.pixels;
      const int64_t last = place / 2 + spread.last, lowest = last - spread.columns + 1;
      t.inside = (1u << spread.columns) - 1;
      if (d.skip_padding && (lowest < 0 || last >= g.columns.src_size)) {
        for (int64_t i = 0; i < spread.columns; ++i) {
          if (last - i < 0 || last - i >= g.columns.src_size) t.inside &= ~(1u << i);
        }
      }
      t.x = row.x + (last - view.column) * view.column_pitch;
      t.fetch = fetch ? row.fetch + (last - view.column) * view.column_pitch : nullptr;
      t.ahead = ceil_div(kFetchLines * z.lanes, t.channels) * pixels * row.pitch;
      t.out = row.out + j * row.pitch;
      spread.run(t);
    }
  }

  // Pixels that are a tap apart share source columns: they make a run.
  void run_columns(DepthwiseRun<X>& t, const AxisPhase& phase, const Row& row, int64_t from,
                   int64_t to) const {
    const bool many = phase.taps > 1;
    const int64_t step = many ? g.columns.src_step : 1;
    const int64_t unit = many ? phase.src_delta : g.columns.src_step;
    const int64_t apart = many ? larger(unit, -unit) : 1;
    const int64_t out_pitch = g.columns.dst_step * row.pitch, taps = larger(1, phase.taps);
    const int64_t x_first = (phase.src_first - view.column) * view.column_pitch;
    t.w = row.w + phase.kernel_first * z.weight_step;
    t.w_tap = phase.kernel_step * z.weight_step;
    t.x_column = many ? unit * view.column_pitch : view.dst_pitch;
    t.out_step = (unit < 0 ? -apart : apart) * out_pitch;
    for (int64_t first = from; first < smaller(from + apart, to); ++first) {
      const int64_t count = ceil_div(to - first, apart);
      const int64_t runs = ceil_div(count, run_pixels<X>(taps)), most = ceil_div(count, runs);
      const DepthwiseRunKernel<X> kernel[2] = {
          depthwise_run_kernel<X>(taps, step, larger(1, most - 1)),
          depthwise_run_kernel<X>(taps, step, most)};
      t.ahead = ceil_div(kFetchLines * z.lanes, t.channels) * most * apart * out_pitch;
      for (int64_t i = 0; i < runs; ++i) {
        const int64_t begin = i * count / runs, end = (i + 1) * count / runs;
        // Columns are looked at in the order of the taps.
        const int64_t nearest = first + (unit < 0 ? end - 1 : begin) * apart;
        const int64_t at = nearest * g.columns.src_step + phase.src_first;
        const int64_t seen = (end - begin - 1) * step + phase.taps, last = at + (seen - 1) * unit;
        t.inside = (1u << seen) - 1;
        if (d.skip_padding && (smaller(at, last) < 0 || larger(at, last) >= g.columns.src_size)) {
          for (int64_t j = 0; j < seen; ++j) {
            const int64_t column = at + j * unit;
            if (column < 0 || column >= g.columns.src_size) t.inside &= ~(1u << j);
          }
        }
        t.x = row.x + x_first + nearest * view.dst_pitch;
        t.fetch = fetch ? row.fetch + x_first + nearest * view.dst_pitch : nullptr;
        t.out = row.out + phase.dst_first * row.pitch + nearest * out_pitch;
        kernel[end - begin == most](t);
      }
    }
  }
};

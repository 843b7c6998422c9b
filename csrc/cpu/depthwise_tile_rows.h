// The loops of depthwise over tiles of several destination rows: any kernel, stride and dilation.
// Tiles of neighbouring rows share their source rows. Included inside the namespace of each
// isa_*.cpp.
#pragma once

template <class S, class X>
struct DepthwiseTileRows {
  using T = Compute<S>;
  const DepthwiseRows<S, X>& d;
  const Gather& g;
  const DepthwisePlan& z;
  const DepthwiseView<X>& view;

  explicit DepthwiseTileRows(const DepthwiseRows<S, X>& rows)
      : d(rows), g(rows.g), z(rows.z), view(rows.view) {}

  // Tiles walk down the source where destination rows share its rows and offsets of taps are
  // linear.
  bool walk() const { return g.rows.src_step == 1 && (z.channel_lanes || g.columns.src_step == 1); }

  void run() {
    for (int64_t pc = 0; pc < g.columns.phases && !walk(); ++pc) {
      const AxisPhase columns = g.columns.phase(pc);
      for (int64_t j = 0; j < columns.taps; ++j) {
        const int64_t at = columns.src_first + j * columns.src_delta - view.column;
        d.offsets[pc * g.columns.kernel + j] =
            z.channel_lanes ? at * view.column_pitch : z.band.column(at, 1);
      }
    }
    for (int64_t pr = 0; pr < g.rows.phases; ++pr) {
      const AxisPhase rows = g.rows.phase(pr);
      const int64_t count = smaller(z.rows, rows.size - d.row_begin);
      if (walk()) {
        // Destination rows that are a tap apart share source rows: they make a tile.
        const int64_t apart = rows.taps > 1 ? larger(rows.src_delta, -rows.src_delta) : 1;
        const int64_t most = z.strips && rows.taps ? z.rows : kTileRowsOf<T>;
        for (int64_t first = 0; first < smaller(apart, count); ++first) {
          const int64_t in_class = ceil_div(count - first, apart);
          for (int64_t i = 0, n; i < in_class; i += n) {
            n = tile_length(i, 0, in_class, most);
            tile_rows(rows, first + i * apart, apart, n);
          }
        }
      } else {
        int64_t begin = 0, end = count;
        if (d.in_place) {
          inner_positions(g.rows, rows, begin, end);
          begin -= d.row_begin, end = smaller(count, end - d.row_begin);
        }
        for (int64_t i = 0, n; i < count; i += n) {
          n = tile_length(i, begin, end, kTileRowsOf<T>);
          tile_rows(rows, i, 1, n);
        }
      }
    }
    if (d.whole()) d.store_whole();
    if (d.dense_sums()) d.store_dense();
  }

  // Destination positions row, row + apart, ... of the phase.
  void tile_rows(const AxisPhase& rows, int64_t row, int64_t apart, int64_t count) {
    DepthwiseTile<T> t;
    const int64_t delta = rows.taps > 1 ? rows.src_delta : 1;
    const bool backwards = walk() && delta < 0;
    const int64_t first = d.row_begin + row, last = first + (count - 1) * apart;
    // Source row of tile row 0, tap row 0.
    const int64_t source = (backwards ? last : first) * g.rows.src_step + rows.src_first;
    t.x_tap = delta * view.row_pitch;
    t.x_row = g.rows.src_step / view.row_skip * view.row_pitch;
    t.planes = g.src_channels, t.x_plane = z.band.plane_pitch;
    t.taps = rows.taps;
    t.begin = 0, t.end = walk() && rows.taps ? count + rows.taps - 1 : rows.taps;
    if (d.skip_padding && walk()) {
      const auto outside = [&](int64_t y) {
        return source + y * delta < 0 || source + y * delta >= g.rows.src_size;
      };
      while (t.begin < t.end && outside(t.begin)) ++t.begin;
      while (t.begin < t.end && outside(t.end - 1)) --t.end;
    } else if (d.skip_padding) {
      inner_taps(g.rows, rows, first, last, t.begin, t.end);
    }
    const T* const x = view.origin + (source - view.row) / view.row_skip * view.row_pitch;
    const int64_t dst_row = rows.dst_first + first * g.rows.dst_step,
                  dst_apart = apart * g.rows.dst_step;
    const int64_t group = z.channel_lanes && d.in_place ? z.group_blocks : d.blocks;
    for (int64_t b = 0; b < d.blocks; b += group) {
      for (int64_t pc = 0; pc < g.columns.phases; ++pc) {
        const AxisPhase columns = g.columns.phase(pc);
        const T* const w =
            d.weights + rows.kernel_first * z.weight_row + columns.kernel_first * z.weight_step;
        t.w_row = rows.kernel_step * z.weight_row, t.w_step = columns.kernel_step * z.weight_step;
        t.w_plane = z.weight_plane;
        t.offset = d.offsets + pc * g.columns.kernel;
        t.x_column = columns.src_delta * view.column_pitch;
        const int64_t at = walk() ? (columns.src_first - view.column) * view.column_pitch : 0;
        int64_t out_row;
        T* out;
        if (d.dense_sums()) {
          out_row = dst_apart * g.columns.dst_size;
          out = d.sums + (dst_row - d.row_begin) * g.columns.dst_size;
          t.out_step = 1;
        } else if (d.whole()) {
          out_row = dst_apart * g.columns.dst_size * z.lanes;
          out = d.sums +
                ((dst_row - d.row_begin * g.rows.dst_step) * g.columns.dst_size + pc) * z.lanes;
          t.out_step = g.columns.dst_step * z.lanes;
        } else if (d.detour()) {
          const int64_t length = round_up(g.columns.longest, z.lanes);
          out_row = z.channel_lanes ? g.columns.dst_size * z.lanes : g.columns.phases * length;
          out = d.sums + pc * (z.channel_lanes ? z.lanes : length);
          t.out_step = g.columns.dst_step * z.lanes;
        } else {
          const int64_t pitch = z.channel_lanes ? d.dst_channels() : 1;
          out_row = dst_apart * g.columns.dst_size * pitch;
          out = (T*)d.pixel(dst_row, pc);
          t.out_step = g.columns.dst_step * pitch;
        }
        t.out_row = backwards ? -out_row : out_row;
        if (backwards) out += (count - 1) * out_row;
        if (z.strips && rows.taps) {
          strips(t, columns, x + at, w, out, count);
          continue;
        }
        tile_columns(t, columns, x + at, w, out, count, b, smaller(d.blocks, b + group));
      }
    }
    if (!d.detour() || d.whole() || d.dense_sums()) return;
    for (int64_t m = 0; m < count; ++m) d.store_row(m, dst_row + m * dst_apart);
  }

  // Where one phase of each plane finds its operands.
  struct Planes {
    const DepthwiseRows<S, X>& rows;
    const T *x, *w;
    T* out;
    int64_t count;
    bool gather;  // the taps of a phase lie apart
    T phase[kStripRows * kStripPitch];

    void operator()(DepthwiseTile<T>& t, int64_t plane) {
      const Gather& g = rows.g;
      const int64_t source = (rows.block + plane) / g.dst_channels - rows.block / g.dst_channels;
      t.x = x + source * g.rows.src_size * g.columns.src_size;
      t.out = out + plane * g.rows.dst_size * g.columns.dst_size;
      t.w = w + plane * rows.z.weight_block();
      if (rows.bias && (!rows.detour() || rows.dense_sums())) t.bias = rows.bias + plane;
      if (!gather) return;
      for (int64_t i = 0; i < t.taps; ++i) {
        for (int64_t j = 0; j < t.tap_end; ++j)
          phase[i * kStripPitch + j] = t.w[i * t.w_row + j * t.w_step];
      }
      t.w = phase;
    }
  };

  void strips(DepthwiseTile<T>& t, const AxisPhase& columns, const T* x, const T* w, T* out,
              int64_t count) const {
    t.tap_begin = 0, t.tap_end = columns.taps;
    t.count = columns.size, t.bias = nullptr;
    Planes planes = {d, x, w, out, d.blocks, t.w_row != kStripPitch || t.w_step != 1, {}};
    if (d.in_place) {
      run_depthwise_strips<T, true, kStripRows>(t, count, columns.src_first, g.columns.src_size,
                                                planes);
    } else {
      run_depthwise_strips<T, false, kStripRows>(t, count, columns.src_first, g.columns.src_size,
                                                 planes);
    }
  }

  // Cuts one row of tiles into vectors, for each of the d.blocks [block_begin, block_end).
  void tile_columns(DepthwiseTile<T>& t, const AxisPhase& columns, const T* x, const T* w, T* out,
                    int64_t count, int64_t block_begin, int64_t block_end) const {
    constexpr int64_t kLanes = Simd<T>::kLanes;
    const int64_t vecs = z.channel_lanes ? columns.size : ceil_div(columns.size, kLanes);
    int64_t begin = 0, end = vecs;
    if (d.in_place) inner_positions(g.columns, columns, begin, end);
    if (!z.channel_lanes) {
      t.x_step = t.out_step = t.count_step = kLanes;
      // Several planes come here only for a phase without taps, which reads nothing.
      for (int64_t b = block_begin; b < block_end; ++b) {
        T* const plane = out + b * g.rows.dst_size * g.columns.dst_size;
        t.bias = d.detour() || !d.bias ? nullptr : d.bias + b;
        for (int64_t v = 0, n; v < vecs; v += n) {
          n = next_tile(v, 0, vecs);
          clip(t, columns, v * kLanes, smaller(columns.size, (v + n) * kLanes) - 1);
          const int64_t j = v * kLanes;
          t.x = x + j, t.w = w, t.out = plane + j, t.count = columns.size - j;
          run_depthwise_tile<T, true>(t, walk(), count, n);
        }
      }
      return;
    }
    // Tiles look at taps from left to right.
    const bool mirrored = walk() && columns.taps > 1 && columns.src_delta < 0;
    const int64_t out_step = t.out_step;
    t.count_step = 0;
    for (int64_t v = 0, n; v < vecs; v += n) {
      n = next_tile(v, begin, end);
      clip(t, columns, v, v + n - 1);
      const int64_t nearest = mirrored ? v + n - 1 : v;
      t.x_step = mirrored ? -view.dst_pitch : view.dst_pitch;
      t.out_step = mirrored ? -out_step : out_step;
      const T* const x_at = x + nearest * view.dst_pitch;
      for (int64_t b = block_begin; b < block_end; ++b) {
        const int64_t channels = d.channel_count() - b * z.lanes;
        for (int64_t lane = 0; lane < smaller(z.lanes, channels); lane += kLanes) {
          const int64_t at = b * z.lanes + lane;
          t.x = x_at + at, t.w = w + b * z.weight_block() + lane,
          t.out = out + nearest * out_step + at;
          t.count = d.detour() ? kLanes : channels - lane;
          t.bias = d.detour() || !d.bias ? nullptr : d.bias + at;
          run_depthwise_tile<T, false>(t, walk(), count, n);
        }
      }
    }
    t.out_step = out_step;
  }

  // Moves v to where the next tile begins, which may repeat what the one before it did, and returns
  // its length.
  int64_t next_tile(int64_t& v, int64_t begin, int64_t end) const {
    constexpr int64_t kMost = kDepthwiseVecs<T>;
    if (!z.channel_lanes) return end - v >= kMost ? kMost : end - v >= 2 ? 2 : 1;
    if (v < begin || v >= end || end - begin < kMost || v == end - 1) return 1;
    v = smaller(v, end - kMost);
    return kMost;
  }

  // Leaves out the taps that see only padding from the destination columns [first, last].
  void clip(DepthwiseTile<T>& t, const AxisPhase& columns, int64_t first, int64_t last) const {
    t.tap_begin = 0, t.tap_end = columns.taps;
    if (d.skip_padding) inner_taps(g.columns, columns, first, last, t.tap_begin, t.tap_end);
  }
};

// Depthwise forward and input gradient: each destination plane gathers from its own source plane
// (from `multiplier` of them in the input gradient of a channel multiplier).
//
//     stage 0   pack the weight as [block][plane][r, s] or [block][plane][r, s][lanes], see if
//               it is finite
//     stage 1   job = images x rows x blocks; load the band of a block or read the source in
//               place, run register tiles, store
//
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
    for (int64_t i = 0; i < r * s; ++i) {
      const S* const at = weight + i / s * stride[2] + i % s * stride[3];
      T* const to = out + i / s * z.weight_row + i % s * z.weight_step;
      for (int64_t l = 0; l < channels.count; ++l)
        to[l] = to_compute(at[l * channels.lane_step * stride[0]]);
    }
  }
}

template <class T>
bool all_finite(const T* x, int64_t count) {
  using S = Simd<T>;
  typename S::Vec sum[4] = {S::zero(), S::zero(), S::zero(), S::zero()};
  for (int64_t i = 0; i < count; i += S::kLanes) {
    const auto v = count - i < S::kLanes ? S::load_first(x + i, count - i) : S::load(x + i);
    sum[i / S::kLanes % 4] = S::fma(v, S::zero(), sum[i / S::kLanes % 4]);
  }
  T lanes[S::kLanes], all = 0;
  S::store(lanes, S::add(S::add(sum[0], sum[1]), S::add(sum[2], sum[3])));
  for (int i = 0; i < S::kLanes; ++i) all += lanes[i];
  return all == 0;
}

// Positions whose taps all lie inside the source: [begin, end).
inline void inner_positions(const Axis& axis, const AxisPhase& phase, int64_t& begin,
                            int64_t& end) {
  const int64_t last = phase.src_first + larger(0, phase.taps - 1) * phase.src_delta;
  const int64_t low = smaller(phase.src_first, last), high = larger(phase.src_first, last);
  begin = smaller(phase.size, low < 0 ? ceil_div(-low, axis.src_step) : 0);
  end = high < axis.src_size ? (axis.src_size - 1 - high) / axis.src_step + 1 : 0;
  end = larger(begin, smaller(phase.size, end));
}

// Taps that reach the source from any of the positions [first, last]: [begin, end).
inline void inner_taps(const Axis& axis, const AxisPhase& phase, int64_t first, int64_t last,
                       int64_t& begin, int64_t& end) {
  const auto outside = [&](int64_t tap) {
    const int64_t at = phase.src_first + tap * phase.src_delta;
    return last * axis.src_step + at < 0 || first * axis.src_step + at >= axis.src_size;
  };
  begin = 0, end = phase.taps;
  while (begin < end && outside(begin)) ++begin;
  while (begin < end && outside(end - 1)) --end;
}

// How many positions from i on make a tile: inner ones are shared out evenly, others stand alone.
inline int64_t tile_length(int64_t i, int64_t begin, int64_t end, int64_t most) {
  return i < begin || i >= end ? 1 : ceil_div(end - i, ceil_div(end - i, most));
}

// What tiles read: the band of one block, or the source itself.
template <class T>
struct DepthwiseView {
  const T* origin;                   // the element at source row `row` and column `column`
  int64_t row, row_skip, row_pitch;  // a view row is row_skip source rows on
  int64_t column, column_pitch,
      dst_pitch;  // elements from a source and from a destination column to the next
};

// Destination rows [row_begin, row_begin + z.rows) of every phase of one image, for some blocks.
template <class S>
struct DepthwiseRows {
  using T = Compute<S>;
  static constexpr bool kSameType = sizeof(S) == sizeof(T);

  const Task& task;
  const Gather& g;
  const DepthwisePlan& z;
  int64_t row_begin;
  DepthwiseView<T> view;
  int64_t* offsets;
  T* sums;
  const T* bias;          // of `block`, or null
  const T* weights;       // of `block`
  int64_t block, blocks;  // one, but in place
  bool skip_padding;      // where all weights are finite, padding adds nothing
  S* result;              // of this image

  bool whole() const { return z.channel_lanes && g.layout == Layout::kContiguous; }
  // Neighbours of a plane of the result that have other planes between them.
  bool spaced() const {
    return !z.channel_lanes && g.layout == Layout::kChannelsLast && dst_channels() > 1;
  }
  // Sums that need another type or order on their way to the result take a detour.
  bool detour() const {
    return !kSameType || (z.channel_lanes ? whole() : g.columns.dst_step > 1 || spaced());
  }
  // In place there is no padding to read: tiles must not reach it.
  bool in_place() const { return z.in_place && skip_padding; }
  // Tiles walk down the source where destination rows share its rows and offsets of taps are
  // linear.
  bool walk() const { return g.rows.src_step == 1 && (z.channel_lanes || g.columns.src_step == 1); }

  int64_t dst_channels() const { return g.groups * g.dst_channels; }
  int64_t first_channel() const { return z.channel_lanes ? block * z.lanes : block; }
  int64_t channel_count() const {  // from the first channel of `block` on
    return z.channel_lanes ? smaller(blocks * z.lanes, dst_channels() - first_channel()) : 1;
  }

  S* pixel(int64_t row, int64_t column) const {
    const int64_t at = row * g.columns.dst_size + column;
    if (g.layout == Layout::kChannelsLast) return result + at * dst_channels() + first_channel();
    return result + first_channel() * g.rows.dst_size * g.columns.dst_size + at;
  }

  void run() {
    for (int64_t pc = 0; pc < g.columns.phases && !walk(); ++pc) {
      const AxisPhase columns = g.columns.phase(pc);
      for (int64_t j = 0; j < columns.taps; ++j) {
        const int64_t at = columns.src_first + j * columns.src_delta - view.column;
        offsets[pc * g.columns.kernel + j] =
            z.channel_lanes ? at * view.column_pitch : z.band.column(at, 1);
      }
    }
    for (int64_t pr = 0; pr < g.rows.phases; ++pr) {
      const AxisPhase rows = g.rows.phase(pr);
      const int64_t count = smaller(z.rows, rows.size - row_begin);
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
        if (in_place()) {
          inner_positions(g.rows, rows, begin, end);
          begin -= row_begin, end = smaller(count, end - row_begin);
        }
        for (int64_t i = 0, n; i < count; i += n) {
          n = tile_length(i, begin, end, kTileRowsOf<T>);
          tile_rows(rows, i, 1, n);
        }
      }
    }
    if (whole()) store_whole();
  }

  // Destination positions row, row + apart, ... of the phase.
  void tile_rows(const AxisPhase& rows, int64_t row, int64_t apart, int64_t count) {
    DepthwiseTile<T> t;
    const int64_t delta = rows.taps > 1 ? rows.src_delta : 1;
    const bool backwards = walk() && delta < 0;
    const int64_t first = row_begin + row, last = first + (count - 1) * apart;
    // Source row of tile row 0, tap row 0.
    const int64_t source = (backwards ? last : first) * g.rows.src_step + rows.src_first;
    t.x_tap = delta * view.row_pitch;
    t.x_row = g.rows.src_step / view.row_skip * view.row_pitch;
    t.planes = g.src_channels, t.x_plane = z.band.plane_pitch;
    t.taps = rows.taps;
    t.begin = 0, t.end = walk() && rows.taps ? count + rows.taps - 1 : rows.taps;
    if (skip_padding && walk()) {
      const auto outside = [&](int64_t y) {
        return source + y * delta < 0 || source + y * delta >= g.rows.src_size;
      };
      while (t.begin < t.end && outside(t.begin)) ++t.begin;
      while (t.begin < t.end && outside(t.end - 1)) --t.end;
    } else if (skip_padding) {
      inner_taps(g.rows, rows, first, last, t.begin, t.end);
    }
    t.fetch = nullptr;
    t.fetch_row = apart * g.rows.src_step * view.row_pitch;
    t.fetch_rows = g.rows.src_step, t.fetch_columns = g.columns.src_step;
    t.fetch_pitch = view.row_pitch, t.fetch_step = view.column_pitch;
    const int64_t deepest =
        last * g.rows.src_step + larger(rows.src_first, rows.src_first + (rows.taps - 1) * delta);
    const T* const fetch = view.origin + (deepest + (walk() ? apart : 1)) * view.row_pitch;
    const T* const x = view.origin + (source - view.row) / view.row_skip * view.row_pitch;
    const int64_t dst_row = rows.dst_first + first * g.rows.dst_step,
                  dst_apart = apart * g.rows.dst_step;
    const int64_t group = z.channel_lanes && in_place() ? z.group_blocks : blocks;
    for (int64_t b = 0; b < blocks; b += group) {
      for (int64_t pc = 0; pc < g.columns.phases; ++pc) {
        const AxisPhase columns = g.columns.phase(pc);
        const T* const w =
            weights + rows.kernel_first * z.weight_row + columns.kernel_first * z.weight_step;
        t.w_row = rows.kernel_step * z.weight_row, t.w_step = columns.kernel_step * z.weight_step;
        t.w_plane = z.weight_plane;
        t.offset = offsets + pc * g.columns.kernel;
        t.x_column = columns.src_delta * view.column_pitch;
        const int64_t at = walk() ? (columns.src_first - view.column) * view.column_pitch : 0;
        int64_t out_row;
        T* out;
        if (whole()) {
          out_row = dst_apart * g.columns.dst_size * z.lanes;
          out =
              sums + ((dst_row - row_begin * g.rows.dst_step) * g.columns.dst_size + pc) * z.lanes;
          t.out_step = g.columns.dst_step * z.lanes;
        } else if (detour()) {
          const int64_t length = round_up(g.columns.longest, z.lanes);
          out_row = z.channel_lanes ? g.columns.dst_size * z.lanes : g.columns.phases * length;
          out = sums + pc * (z.channel_lanes ? z.lanes : length);
          t.out_step = g.columns.dst_step * z.lanes;
        } else {
          const int64_t pitch = z.channel_lanes ? dst_channels() : 1;
          out_row = dst_apart * g.columns.dst_size * pitch;
          out = (T*)pixel(dst_row, pc);
          t.out_step = g.columns.dst_step * pitch;
        }
        t.out_row = backwards ? -out_row : out_row;
        if (backwards) out += (count - 1) * out_row;
        if (z.strips && rows.taps) {
          strips(t, columns, x + at, w, out, count);
          continue;
        }
        tile_columns(t, columns, x + at, w, out, fetch, count, b, smaller(blocks, b + group));
      }
    }
    if (!detour() || whole()) return;
    for (int64_t m = 0; m < count; ++m) store_row(m, dst_row + m * dst_apart);
  }

  // Where one phase of each plane finds its operands.
  struct Planes {
    const DepthwiseRows& rows;
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
      if (rows.bias && !rows.detour()) t.bias = rows.bias + plane;
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
    Planes planes = {*this, x, w, out, blocks, t.w_row != kStripPitch || t.w_step != 1, {}};
    if (in_place()) {
      run_depthwise_strips<T, true, kStripRows>(t, count, columns.src_first, g.columns.src_size,
                                                planes);
    } else {
      run_depthwise_strips<T, false, kStripRows>(t, count, columns.src_first, g.columns.src_size,
                                                 planes);
    }
  }

  // Cuts one row of tiles into vectors, for each of the blocks [block_begin, block_end).
  void tile_columns(DepthwiseTile<T>& t, const AxisPhase& columns, const T* x, const T* w, T* out,
                    const T* fetch, int64_t count, int64_t block_begin, int64_t block_end) const {
    constexpr int64_t kLanes = Simd<T>::kLanes;
    const int64_t vecs = z.channel_lanes ? columns.size : ceil_div(columns.size, kLanes);
    int64_t begin = 0, end = vecs;
    if (in_place()) inner_positions(g.columns, columns, begin, end);
    if (!z.channel_lanes) {
      t.x_step = t.out_step = t.count_step = kLanes;
      // Several planes come here only for a phase without taps, which reads nothing.
      for (int64_t b = block_begin; b < block_end; ++b) {
        T* const plane = out + b * g.rows.dst_size * g.columns.dst_size;
        t.bias = detour() || !bias ? nullptr : bias + b;
        for (int64_t v = 0, n; v < vecs; v += n) {
          n = next_tile(v, 0, vecs);
          clip(t, columns, v * kLanes, smaller(columns.size, (v + n) * kLanes) - 1);
          const int64_t j = v * kLanes;
          t.x = x + j, t.w = w, t.out = plane + j, t.count = columns.size - j;
          run_depthwise_tile<T, true>(t, walk() ? TileKind::kWalking : TileKind::kStanding, count,
                                      n);
        }
      }
      return;
    }
    // Tiles look at taps from left to right.
    const bool mirrored = walk() && columns.taps > 1 && columns.src_delta < 0;
    const int64_t out_step = t.out_step, x_column = t.x_column;
    const bool three = kHasThreeByThree<T> && columns.taps == 3 && t.taps == 3 && t.planes == 1;
    t.count_step = 0;
    for (int64_t v = 0, n; v < vecs; v += n) {
      n = next_tile(v, begin, end);
      clip(t, columns, v, v + n - 1);
      TileKind kind = walk() ? TileKind::kWalking : TileKind::kStanding;
      if (three && t.tap_end - t.tap_begin == 3) {
        const int64_t stride = view.dst_pitch / larger(x_column, -x_column);
        if (walk() && stride == 1) kind = TileKind::kThree;
      }
      const int64_t nearest = mirrored ? v + n - 1 : v;
      t.x_step = mirrored ? -view.dst_pitch : view.dst_pitch;
      t.out_step = mirrored ? -out_step : out_step;
      const T* const x_at = x + nearest * view.dst_pitch;
      for (int64_t b = block_begin; b < block_end; ++b) {
        const int64_t channels = channel_count() - b * z.lanes;
        for (int64_t lane = 0; lane < smaller(z.lanes, channels); lane += kLanes) {
          const int64_t at = b * z.lanes + lane;
          t.x = x_at + at, t.w = w + b * z.weight_block() + lane,
          t.out = out + nearest * out_step + at;
          t.count = detour() ? kLanes : channels - lane;
          if (in_place()) t.fetch = fetch + nearest * view.dst_pitch + at;
          t.bias = detour() || !bias ? nullptr : bias + at;
          run_depthwise_tile<T, false>(t, kind, count, n);
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
    if (skip_padding) inner_taps(g.columns, columns, first, last, t.tap_begin, t.tap_end);
  }

  // Tile row m of the sums to a row of the result.
  void store_row(int64_t m, int64_t row) const {
    if (z.channel_lanes) {
      const T* from = sums + m * g.columns.dst_size * z.lanes;
      for (int64_t j = 0; j < g.columns.dst_size; ++j, from += z.lanes) {
        copy_run<T, S, T>(from, pixel(row, j), channel_count(), bias);
      }
      return;
    }
    const int64_t length = round_up(g.columns.longest, z.lanes);
    const int64_t step = g.columns.dst_step, pixel_step = spaced() ? dst_channels() : 1;
    T* const from = sums + m * g.columns.phases * length;
    if (bias) {
      for (int64_t j = 0; j < g.columns.dst_size; ++j) from[j] += bias[0];
    }
    if (step * pixel_step == 1) {
      return copy_run<T, S, T>(from, pixel(row, 0), g.columns.dst_size, nullptr);
    }
    int64_t done = 0;
    if (step == 2 && pixel_step == 1) {
      using V = Simd<T>;
      for (S* out = pixel(row, 0); 2 * (done + V::kLanes) <= g.columns.dst_size;
           done += V::kLanes) {
        auto even = V::load(from + done), odd = V::load(from + length + done);
        V::interleave(even, odd);
        V::store(out + 2 * done, even);
        V::store(out + 2 * done + V::kLanes, odd);
      }
    }
    for (int64_t pc = 0; pc < g.columns.phases; ++pc) {
      S* const out = pixel(row, pc);
      for (int64_t j = done; j * step + pc < g.columns.dst_size; ++j) {
        from_compute(out + j * step * pixel_step, from[pc * length + j]);
      }
    }
  }

  // All rows at once, from [pixel][lanes] to planes.
  void store_whole() const {
    const int64_t row = row_begin * g.rows.dst_step;
    const int64_t rows = smaller(z.rows * g.rows.dst_step, g.rows.dst_size - row);
    transpose_copy<T, S, T>(sums, z.lanes, rows * g.columns.dst_size, channel_count(),
                            pixel(row, 0), g.rows.dst_size * g.columns.dst_size, bias);
  }
};

template <class S>
void depthwise_convolve(const Task& task, const Job& job, const Gather& g, const DepthwisePlan& z) {
  using T = Compute<S>;
  const int64_t parts = ceil_div(z.blocks, z.job_blocks);
  const int64_t part = job.index % parts, row_begin = job.index / parts % z.row_jobs * z.rows;
  const int64_t image = job.index / parts / z.row_jobs * z.images;
  const int64_t block_begin = part * z.blocks / parts, block_end = (part + 1) * z.blocks / parts;

  int64_t* const offsets = (int64_t*)job.scratch;
  T* const band = (T*)(job.scratch + z.offsets_size * sizeof(int64_t));
  T* const bias = band + z.band.size;
  T* const sums = bias + z.bias_size;
  const int64_t block_lanes = z.channel_lanes ? z.lanes : 1;
  if (task.bias) {
    const int64_t first = block_begin * block_lanes;
    copy_run<S, T, T>(
        (const S*)task.bias + first, bias,
        smaller((block_end - block_begin) * block_lanes, g.groups * g.dst_channels - first),
        nullptr);
  }
  const T* const packed = (const T*)job.shared;
  const T* const finite = packed + z.packed_size;

  DepthwiseRows<S> rows = {task,    g,       z, row_begin, {},    offsets, sums,
                           nullptr, nullptr, 0, 1,         false, nullptr};
  const int64_t src_channels = g.groups * g.src_channels;
  const int64_t src_image = src_channels * g.rows.src_size * g.columns.src_size;
  const int64_t dst_image = g.groups * g.dst_channels * g.rows.dst_size * g.columns.dst_size;
  const int64_t first_row = row_begin * g.rows.src_step + g.rows.src_low;
  const int64_t band_rows = z.band.plane_pitch / z.band.row_pitch;
  bool in_place = z.in_place;
  for (int64_t b = block_begin; in_place && b < block_end; ++b) in_place = finite[b] != 0;
  for (int64_t n = image; n < smaller(g.n, image + z.images); ++n) {
    const Image<S> source = {(const S*)gather_source(task) + n * src_image, g.layout, src_channels,
                             g.rows.src_size, g.columns.src_size};
    rows.result = (S*)task.result + n * dst_image;
    // Strips with another type or order on their way to the result go plane by plane.
    if (in_place && (z.channel_lanes || (g.columns.dst_step == 1 && !rows.spaced()))) {
      const int64_t w = g.columns.src_size, pixel = z.channel_lanes ? src_channels : 1;
      const int64_t first = depthwise_channels(g, z, block_begin).first / g.dst_channels;
      rows.block = block_begin, rows.blocks = block_end - block_begin;
      rows.view = {(const T*)source.data + first * (z.channel_lanes ? 1 : g.rows.src_size * w),
                   0,
                   1,
                   w * pixel,
                   0,
                   pixel,
                   g.columns.src_step * pixel};
      rows.weights = packed + block_begin * z.weight_block();
      rows.bias = task.bias ? bias : nullptr;
      rows.skip_padding = true;
      rows.run();
      continue;
    }
    for (int64_t b = block_begin; b < block_end; ++b) {
      rows.block = b;
      rows.weights = packed + b * z.weight_block();
      rows.skip_padding = finite[b] != 0;
      rows.bias = task.bias ? bias + (b - block_begin) * block_lanes : nullptr;
      if (in_place) {
        const int64_t w = g.columns.src_size,
                      plane = depthwise_channels(g, z, b).first / g.dst_channels;
        rows.view = {(const T*)source.data + plane * g.rows.src_size * w, 0, 1, w, 0, 1, 1};
      } else {
        rows.skip_padding = rows.skip_padding && !z.in_place;
        rows.view = {
            band,        first_row,        z.band.row_skip, z.band.row_pitch, g.columns.src_low,
            block_lanes, z.band.pixel_step};
        load_depthwise_band(source, z.band, z.channel_lanes, depthwise_channels(g, z, b), first_row,
                            band_rows, g.columns.src_low, z.lanes, band);
      }
      rows.run();
    }
  }
}

inline void depthwise(const Task& task, const Job& job) {
  const Gather g = make_gather(task.op, task.shape);
  const DepthwisePlan z = make_depthwise_plan(g, task.shape.dtype);
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    if (job.stage == 0) {
      Compute<S>* const packed = (Compute<S>*)job.shared;
      const int64_t begin = job.index * z.pack_blocks;
      for (int64_t i = begin; i < smaller(z.blocks, begin + z.pack_blocks); ++i) {
        Compute<S>* const block = packed + i * z.weight_block();
        pack_depthwise<S>(task, g, z, i, block);
        packed[z.packed_size + i] = all_finite(block, z.weight_block());
      }
      return;
    }
    depthwise_convolve<S>(task, job, g, z);
  });
}

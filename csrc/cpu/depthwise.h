// Depthwise forward and input gradient: each destination plane gathers from its own source plane (from
// `multiplier` of them in the input gradient of a channel multiplier).
//
//     stage 0   channel lanes only: pack the weight as [block][plane][r, s][lanes]
//     stage 1   job = images x rows x blocks; for each block: load the band, run register tiles, store
//
// Included inside the namespace of each isa_*.cpp.
#pragma once

inline BlockChannels depthwise_channels(const Gather& g, const DepthwisePlan& z, int64_t block) {
  const int64_t per_block = z.channel_lanes ? z.lanes : 1, first = block * per_block;
  // `first` counts destination channels; g.src_channels of them or one of g.dst_channels is the source.
  return {first * g.src_channels, smaller(per_block, g.groups * g.dst_channels - first), g.src_channels,
          g.dst_channels};
}

// The weights of one block: [plane][r, s], or [plane][r, s][lanes] with zeros in surplus lanes.
template <class S>
void pack_depthwise(const Task& task, const Gather& g, const DepthwisePlan& z, int64_t block,
                    Compute<S>* out) {
  using T = Compute<S>;
  const BlockChannels channels = depthwise_channels(g, z, block);
  const int64_t* const stride = task.weight_stride;
  const int64_t r = g.rows.kernel, s = g.columns.kernel, taps = r * s;
  const int64_t lanes = z.channel_lanes ? z.lanes : 1;
  if (channels.count < lanes) fill_zero(out, g.src_channels * taps * lanes);
  for (int64_t plane = 0; plane < g.src_channels; ++plane, out += taps * lanes) {
    const S* const weight = (const S*)task.weight + (channels.first + plane) * stride[0];
    if (stride[3] == 1 && (r == 1 || stride[2] == s)) {
      if (lanes == 1) {
        copy_run<S, T, T>(weight, out, taps, nullptr);
      } else {
        transpose_copy<S, T, T>(weight, channels.lane_step * stride[0], channels.count, taps, out, lanes,
                                nullptr);
      }
      continue;
    }
    for (int64_t i = 0; i < taps; ++i) {
      const S* const at = weight + i / s * stride[2] + i % s * stride[3];
      for (int64_t l = 0; l < channels.count; ++l) {
        out[i * lanes + l] = to_compute(at[l * channels.lane_step * stride[0]]);
      }
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

// One block of one image, destination rows [row_begin, row_begin + z.rows) of every phase.
template <class S>
struct DepthwiseBlock {
  using T = Compute<S>;
  static constexpr bool kSameType = sizeof(S) == sizeof(T);

  const Task& task;
  const Gather& g;
  const DepthwisePlan& z;
  const int64_t* offsets;
  const T* band;
  const T* weights;
  T* sums;
  int64_t block, row_begin;
  BlockChannels channels;
  bool skip_padding;  // where all weights are finite, rows and columns of padding add nothing
  S* result;          // of this image
  T bias[16];

  bool whole() const { return z.channel_lanes && g.layout == Layout::kContiguous; }
  // Sums that need another type or order on their way to the result take a detour.
  bool detour() const { return !kSameType || (z.channel_lanes ? whole() : g.columns.dst_step > 1); }

  int64_t dst_channels() const { return g.groups * g.dst_channels; }

  S* pixel(int64_t row, int64_t column) const {
    const int64_t at = row * g.columns.dst_size + column, channel = z.channel_lanes ? block * z.lanes : block;
    if (g.layout == Layout::kChannelsLast) return result + at * dst_channels() + channel;
    return result + channel * g.rows.dst_size * g.columns.dst_size + at;
  }

  void run() {
    for (int64_t pr = 0; pr < g.rows.phases; ++pr) {
      const AxisPhase rows = g.rows.phase(pr);
      const int64_t count = smaller(z.rows, rows.size - row_begin);
      // Destination rows that are a tap apart share source rows: they make a tile.
      const bool shared = g.rows.src_step == 1 && rows.taps > 0;
      const int64_t apart = shared && rows.taps > 1 ? (rows.src_delta < 0 ? -rows.src_delta : rows.src_delta) : 1;
      for (int64_t first = 0; first < smaller(apart, count); ++first) {
        const int64_t in_class = ceil_div(count - first, apart), tiles = ceil_div(in_class, kDepthwiseRows);
        for (int64_t t = 0; t < tiles; ++t) {
          const int64_t i = t * in_class / tiles, next = (t + 1) * in_class / tiles;
          tile_rows(rows, first + i * apart, apart, next - i, shared);
        }
      }
    }
    if (whole()) store_whole();
  }

  // Destination positions row, row + apart, ... of the phase.
  void tile_rows(const AxisPhase& rows, int64_t row, int64_t apart, int64_t count, bool shared) {
    DepthwiseTile<T> t;
    const int64_t delta = rows.taps > 1 ? rows.src_delta : 1;
    const bool backwards = shared && delta < 0;
    const int64_t band_row = z.band.row_pitch, advance = z.band.row_advance * apart;
    const int64_t last = backwards ? (count - 1) * apart : 0;
    // Source row of tile row 0, tap 0, and from one tap to the next.
    const int64_t source = (row_begin + row + last) * g.rows.src_step + rows.src_first;
    t.x_tap = delta * band_row;
    t.x_row = advance * band_row;
    t.planes = g.src_channels, t.x_plane = z.band.plane_pitch;
    t.taps = rows.taps;
    t.begin = 0, t.end = shared ? count + rows.taps - 1 : rows.taps;
    if (skip_padding) {
      const int64_t reach = shared ? 0 : (count - 1) * g.rows.src_step;
      const auto outside = [&](int64_t y) {
        const int64_t at = source + y * delta;
        return at + reach < 0 || at >= g.rows.src_size;
      };
      while (t.begin < t.end && outside(t.begin)) ++t.begin;
      while (t.begin < t.end && outside(t.end - 1)) --t.end;
    }
    const int64_t band_at = (source - row_begin * g.rows.src_step - g.rows.src_low) / z.band.row_skip;
    const T* const x = band + band_at * band_row;
    const int64_t dst_row = rows.dst_first + (row_begin + row) * g.rows.dst_step;
    const int64_t dst_apart = apart * g.rows.dst_step;
    for (int64_t pc = 0; pc < g.columns.phases; ++pc) {
      const AxisPhase columns = g.columns.phase(pc);
      const int64_t lanes = z.channel_lanes ? z.lanes : 1, s = g.columns.kernel;
      const T* const w = weights + (rows.kernel_first * s + columns.kernel_first) * lanes;
      t.w_row = rows.kernel_step * s * lanes, t.w_step = columns.kernel_step * lanes;
      t.w_plane = g.taps() * lanes;
      t.offset = offsets + pc * s;
      int64_t out_row;
      T* out;
      if (whole()) {
        out_row = dst_apart * g.columns.dst_size * z.lanes;
        out = sums + ((dst_row - row_begin * g.rows.dst_step) * g.columns.dst_size + columns.dst_first) * z.lanes;
        t.out_step = g.columns.dst_step * z.lanes;
      } else if (detour()) {
        const int64_t length = round_up(g.columns.longest, z.lanes);
        out_row = z.channel_lanes ? g.columns.dst_size * z.lanes : g.columns.phases * length;
        out = sums + (z.channel_lanes ? columns.dst_first * z.lanes : pc * length);
        t.out_step = g.columns.dst_step * z.lanes;
      } else {
        const int64_t pitch = z.channel_lanes ? dst_channels() : 1;
        out_row = dst_apart * g.columns.dst_size * pitch;
        out = (T*)pixel(dst_row, columns.dst_first);
        t.out_step = g.columns.dst_step * pitch;
      }
      t.out_row = backwards ? -out_row : out_row;
      if (backwards) out += (count - 1) * out_row;
      t.bias = task.bias && !detour() ? bias : nullptr;
      tile_columns(t, columns, x, w, out, shared, count);
    }
    if (!detour() || whole()) return;
    for (int64_t m = 0; m < count; ++m) store_row(m, dst_row + m * dst_apart);
  }

  // Cuts one row of tiles into vectors.
  void tile_columns(DepthwiseTile<T>& t, const AxisPhase& columns, const T* x, const T* w, T* out, bool shared,
                    int64_t count) const {
    constexpr int64_t kLanes = Simd<T>::kLanes;
    const int64_t pixels = z.channel_lanes ? 1 : kLanes;  // of one vector
    const int64_t vecs = ceil_div(columns.size, pixels), parts = ceil_div(vecs, kDepthwiseVecs<T>);
    for (int64_t part = 0; part < parts; ++part) {
      const int64_t v = part * vecs / parts, next = (part + 1) * vecs / parts;
      const int64_t j = v * pixels, past = smaller(columns.size, next * pixels);
      t.tap_begin = 0, t.tap_end = columns.taps;
      if (skip_padding) {
        const auto outside = [&](int64_t tap) {
          const int64_t at = columns.src_first + tap * columns.src_delta;
          return (past - 1) * g.columns.src_step + at < 0 || j * g.columns.src_step + at >= g.columns.src_size;
        };
        while (t.tap_begin < t.tap_end && outside(t.tap_begin)) ++t.tap_begin;
        while (t.tap_begin < t.tap_end && outside(t.tap_end - 1)) --t.tap_end;
      }
      t.x_step = z.channel_lanes ? z.band.pixel_step : kLanes;
      if (!z.channel_lanes) {
        t.x = x + j, t.w = w, t.out = out + j;
        t.out_step = kLanes;
        t.count = columns.size - j, t.count_step = kLanes;
        run_depthwise_tile<T, true>(t, shared, count, next - v);
        continue;
      }
      const T* const bias_begin = t.bias;
      for (int64_t lane = 0; lane < channels.count; lane += kLanes) {
        t.x = x + j * z.band.pixel_step + lane, t.w = w + lane, t.out = out + j * t.out_step + lane;
        t.count = whole() || detour() ? kLanes : channels.count - lane, t.count_step = 0;
        if (bias_begin) t.bias = bias_begin + lane;
        run_depthwise_tile<T, false>(t, shared, count, next - v);
      }
      t.bias = bias_begin;
    }
  }

  // Tile row m of the sums to a row of the result.
  void store_row(int64_t m, int64_t row) const {
    if (z.channel_lanes) {
      const T* from = sums + m * g.columns.dst_size * z.lanes;
      for (int64_t j = 0; j < g.columns.dst_size; ++j, from += z.lanes) {
        copy_run<T, S, T>(from, pixel(row, j), channels.count, task.bias ? bias : nullptr);
      }
      return;
    }
    const int64_t length = round_up(g.columns.longest, z.lanes), step = g.columns.dst_step;
    T* const from = sums + m * g.columns.phases * length;
    if (task.bias) {
      for (int64_t j = 0; j < g.columns.dst_size; ++j) from[j] += bias[0];
    }
    if (step == 1) return copy_run<T, S, T>(from, pixel(row, 0), g.columns.dst_size, nullptr);
    for (int64_t pc = 0; pc < g.columns.phases; ++pc) {
      S* const out = pixel(row, pc);
      for (int64_t j = 0; j * step + pc < g.columns.dst_size; ++j) {
        from_compute(out + j * step, from[pc * length + j]);
      }
    }
  }

  // All rows at once, from [pixel][lanes] to planes.
  void store_whole() const {
    const int64_t row = row_begin * g.rows.dst_step;
    const int64_t rows = smaller(z.rows * g.rows.dst_step, g.rows.dst_size - row);
    transpose_copy<T, S, T>(sums, z.lanes, rows * g.columns.dst_size, channels.count, pixel(row, 0),
                            g.rows.dst_size * g.columns.dst_size, task.bias ? bias : nullptr);
  }
};

template <class S>
void depthwise_convolve(const Task& task, const Job& job, const Gather& g, const DepthwisePlan& z) {
  using T = Compute<S>;
  const int64_t parts = ceil_div(z.blocks, z.job_blocks);
  const int64_t part = job.index % parts, row_begin = job.index / parts % z.row_jobs * z.rows;
  const int64_t image = job.index / parts / z.row_jobs * z.images;

  int64_t* const offsets = (int64_t*)job.scratch;
  T* const band = (T*)(job.scratch + z.offsets_size * sizeof(int64_t));
  T* const weights = band + z.band.size;
  T* const sums = weights + z.weight_size;
  for (int64_t pc = 0; pc < g.columns.phases; ++pc) {
    const AxisPhase columns = g.columns.phase(pc);
    for (int64_t j = 0; j < columns.taps; ++j) {
      const int64_t at = columns.src_first + j * columns.src_delta - g.columns.src_low;
      offsets[pc * g.columns.kernel + j] = z.band.column(at, z.channel_lanes ? z.lanes : 1);
    }
  }

  DepthwiseBlock<S> b = {task, g, z, offsets, band, weights, sums, 0, row_begin, {}, false, nullptr, {}};
  const int64_t src_channels = g.groups * g.src_channels;
  const int64_t src_image = src_channels * g.rows.src_size * g.columns.src_size;
  const int64_t dst_image = g.groups * g.dst_channels * g.rows.dst_size * g.columns.dst_size;
  const int64_t band_rows = z.band.plane_pitch / z.band.row_pitch;
  for (int64_t n = image; n < smaller(g.n, image + z.images); ++n) {
    const Image<S> source = {(const S*)gather_source(task) + n * src_image, g.layout, src_channels,
                             g.rows.src_size, g.columns.src_size};
    b.result = (S*)task.result + n * dst_image;
    for (b.block = part * z.blocks / parts; b.block < (part + 1) * z.blocks / parts; ++b.block) {
      b.channels = depthwise_channels(g, z, b.block);
      load_depthwise_band(source, z.band, z.channel_lanes, b.channels,
                          row_begin * g.rows.src_step + g.rows.src_low, band_rows, g.columns.src_low, z.lanes,
                          band);
      const int64_t weight_count = g.src_channels * g.taps() * (z.channel_lanes ? z.lanes : 1);
      if (z.channel_lanes) {
        b.weights = (const T*)job.shared + b.block * weight_count;
      } else {
        pack_depthwise<S>(task, g, z, b.block, weights);
      }
      b.skip_padding = all_finite(b.weights, weight_count);
      if (task.bias) {
        const int64_t first = z.channel_lanes ? b.block * z.lanes : b.block;
        copy_run<S, T, T>((const S*)task.bias + first, b.bias, b.channels.count, nullptr);
      }
      b.run();
    }
  }
}

inline void depthwise(const Task& task, const Job& job) {
  const Gather g = make_gather(task.op, task.shape);
  const DepthwisePlan z = make_depthwise_plan(g, task.shape.dtype);
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    if (job.stage + 1 < (z.channel_lanes ? 2 : 1)) {
      const int64_t size = g.src_channels * g.taps() * z.lanes;
      return pack_depthwise<S>(task, g, z, job.index, (Compute<S>*)job.shared + job.index * size);
    }
    depthwise_convolve<S>(task, job, g, z);
  });
}

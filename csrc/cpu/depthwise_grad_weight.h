// The weight gradient of depthwise, plane by plane or a vector of channels at a time.
//
//     job of stage 0   some blocks of the result over one chunk of samples (or over all of them)
//     job of stage 1   adds the sums of a wave of chunks to the total, in the order of the samples
//
// A row part is summed in registers, then added to the block's sums; lanes that are pixels are
// added up at the very end, in one order. Included inside the namespace of each isa_*.cpp.
#pragma once

template <class S>
struct DepthwiseGradBlock {
  using T = Compute<S>;
  const Task& task;
  const Gather& g;
  const DepthwiseGradPlan& z;
  int64_t block;

  int64_t first_channel() const { return z.channel_lanes ? block * z.lanes : block; }
  int64_t channel_count() const {
    return z.channel_lanes ? smaller(z.lanes, g.groups * g.dst_channels - first_channel()) : 1;
  }

  // The rows of a part from pixel (0, 0) of both images on, in place or copied; then all taps.
  template <class X>
  void add_windows(DepthwiseWindows<X> w, T* sums) const {
    const int64_t taps = g.columns.kernel;
    w.height = g.rows.src_size, w.width = g.columns.src_size, w.columns = g.columns.dst_size;
    w.row_step = g.rows.src_step, w.column_first = g.columns.phase(0).src_first;
    w.sums_row = taps * z.lanes, w.sums_tap = z.lanes;
    const X* const x = w.x;
    const X* const grad = w.grad;
    const AxisPhase rows = g.rows.phase(0);
    for (int64_t lane = 0; lane < channel_count(); lane += Simd<T>::kLanes) {
      w.x = x + lane, w.grad = grad + lane, w.sums = sums + lane;
      if (g.columns.src_step == 1) {
        run_windows_of_taps<1>(w, g.rows, rows, taps);
      } else {
        run_windows_of_taps<2>(w, g.rows, rows, taps);
      }
      add_windows_in_padding(w, rows, taps);
    }
  }

  void add_window_part(const Image<S>& input, const Image<S>& grad, int64_t row_begin,
                       int64_t row_end, T* band, T* sums) const {
    const int64_t q = g.columns.dst_size, width = g.columns.src_size, lanes = z.lanes;
    const int64_t count = channel_count(), first = first_channel();
    if (g.layout == Layout::kChannelsLast && count == lanes) {
      const int64_t channels = g.groups;
      DepthwiseWindows<S> w{};
      w.x = input.data + first, w.x_row = width * channels, w.x_pixel = channels;
      w.grad = grad.data + first, w.grad_row = q * channels, w.grad_pixel = channels;
      w.row_begin = row_begin, w.row_end = row_end;
      return add_windows(w, sums);
    }
    int64_t low, high;
    z.source_rows(g, row_begin, row_end, low, high);
    T* const grad_band = band + z.band.size;
    if (count < lanes) {
      fill_zero(band, (high - low) * width * lanes);
      fill_zero(grad_band, (row_end - row_begin) * q * lanes);
    }
    load_band<S>(input, {low, high - low, 1, 0, width, 1, first, count}, band, lanes);
    load_band<S>(grad, {row_begin, row_end - row_begin, 1, 0, q, 1, first, count}, grad_band,
                 lanes);
    DepthwiseWindows<T> w{};
    w.x_row = width * lanes, w.grad_row = q * lanes, w.x_pixel = w.grad_pixel = lanes;
    w.x = band - low * w.x_row, w.grad = grad_band - row_begin * w.grad_row;
    w.row_begin = row_begin, w.row_end = row_end;
    add_windows(w, sums);
  }

  // sums [r, s][lanes] += row parts [begin, end) of image n
  void add_parts(int64_t n, int64_t begin, int64_t end, char* scratch, T* sums) const {
    constexpr int64_t kLanes = Simd<T>::kLanes;
    const int64_t c = g.groups, k = g.groups * g.dst_channels,
                  lanes = z.channel_lanes ? z.lanes : 1;
    const int64_t p = g.rows.dst_size, q = g.columns.dst_size, s = g.columns.kernel;
    const Image<S> input = {(const S*)task.input + n * c * g.rows.src_size * g.columns.src_size,
                            g.layout, c, g.rows.src_size, g.columns.src_size};
    const Image<S> grad = {(const S*)task.grad + n * k * p * q, g.layout, k, p, q};
    const BlockChannels channels = {first_channel(), channel_count(), 1, g.dst_channels};
    const AxisPhase rows = g.rows.phase(0), columns = g.columns.phase(0);

    int64_t* const offsets = (int64_t*)scratch;
    T* const band = (T*)(offsets + round_up(s, 8));
    T* const grad_band = band + z.band.size;
    for (int64_t i = 0; i < s; ++i) {
      offsets[i] =
          z.band.column(columns.src_first + i * columns.src_delta - g.columns.src_low, lanes);
    }
    if (z.windows) {
      for (int64_t part = begin; part < end; ++part) {
        add_window_part(input, grad, part * p / z.row_parts, (part + 1) * p / z.row_parts, band,
                        sums);
      }
      return;
    }
    DepthwiseTaps<T> t;
    t.x_row = z.band.row_pitch, t.x_step = z.channel_lanes ? z.band.pixel_step : z.lanes;
    t.advance = z.band.row_advance, t.delta = rows.taps > 1 ? rows.src_delta : 1;
    t.offset = offsets;
    t.grad_row = z.grad_row;
    t.grad_step = !z.channel_lanes ? z.lanes : z.grad_in_place ? k : z.lanes;
    t.sums_row = s * z.lanes, t.sums_step = z.lanes;
    for (int64_t part = begin; part < end; ++part) {
      const int64_t row = part * p / z.row_parts;
      t.rows = (part + 1) * p / z.row_parts - row;
      const int64_t band_rows =
          (t.rows - 1) * z.band.row_advance + g.rows.src_high - g.rows.src_low + 1;
      load_depthwise_band(input, z.band, z.channel_lanes, channels,
                          row * g.rows.src_step + g.rows.src_low, band_rows, g.columns.src_low,
                          z.lanes, band);
      const T* from = grad_band;
      if (z.grad_in_place) {
        from = (const T*)grad.data +
               (z.channel_lanes ? row * q * k + block * z.lanes : (block * p + row) * q);
      } else {
        if (channel_count() < lanes) fill_zero(grad_band, z.grad_size);
        for (int64_t i = 0; i < t.rows; ++i) {
          T* const to = grad_band + i * z.grad_row;
          if (!z.channel_lanes && g.layout == Layout::kChannelsLast) {
            load_strided_row(grad.data + (row + i) * q * k + block, q, k, 0, 1, q, to);
            continue;
          }
          load_band<S>(grad, {row + i, 1, 1, 0, q, 1, first_channel(), channel_count()}, to, lanes);
        }
      }
      for (int64_t lane = 0; lane < z.lanes; lane += kLanes) {
        t.x = band + lane, t.grad = from + lane, t.sums = sums + lane;
        t.vecs = z.channel_lanes ? q : ceil_div(q, z.lanes);
        t.last = z.channel_lanes ? kLanes
                                 : larger(0, smaller(kLanes, q - (t.vecs - 1) * z.lanes - lane));
        run_taps(t, rows.taps, columns.taps);
      }
    }
  }

  // Writes the block's part of the result, [k][r, s] in every layout.
  void store(T* sums) const {
    const int64_t taps = g.taps();
    S* const result = (S*)task.result + first_channel() * taps;
    if (z.channel_lanes) {
      return transpose_copy<T, S, T>(sums, z.lanes, taps, channel_count(), result, taps, nullptr);
    }
    for (int64_t i = 0; i < taps; ++i, sums += z.lanes) {
      for (int64_t half = z.lanes / 2; half; half /= 2) {
        for (int64_t l = 0; l < half; ++l) sums[l] += sums[l + half];
      }
      from_compute(result + i, sums[0]);
    }
  }
};

template <class S>
void depthwise_grad_weight_job(const Task& task, const Job& job, const Gather& g,
                               const DepthwiseGradPlan& z) {
  using T = Compute<S>;
  const int64_t parts = ceil_div(z.blocks, z.job_blocks);
  const int64_t begin = job.index % parts * z.blocks / parts,
                end = (job.index % parts + 1) * z.blocks / parts;
  // Blocks of some row parts of some images. Neighbouring channels share pages and cache lines: all
  // blocks of the job go over a row part before the next one.
  const auto sum_images = [&](int64_t image_begin, int64_t image_end, int64_t part_begin,
                              int64_t part_end, T* sums) {
    fill_zero(sums, (end - begin) * z.block_size);
    for (int64_t n = image_begin; n < image_end; ++n) {
      for (int64_t part = part_begin; part < part_end; ++part) {
        for (int64_t i = begin; i < end; ++i) {
          DepthwiseGradBlock<S>{task, g, z, i}.add_parts(n, part, part + 1, job.scratch,
                                                         sums + (i - begin) * z.block_size);
        }
      }
    }
  };
  if (!z.chunk_images) {
    T* const sums = (T*)(job.scratch + depthwise_grad_scratch_bytes(z, g, task.shape.dtype)) -
                    z.job_blocks * z.block_size;
    sum_images(0, g.n, 0, z.row_parts, sums);
    for (int64_t i = begin; i < end; ++i) {
      DepthwiseGradBlock<S>{task, g, z, i}.store(sums + (i - begin) * z.block_size);
    }
    return;
  }
  const int64_t chunks = z.chunks(g.n), wave_begin = job.repeat * z.wave;
  T* const total = (T*)job.shared;
  T* const partial = total + z.blocks * z.block_size;
  if (job.stage == 0) {
    const int64_t in_wave = job.index / parts, chunk = wave_begin + in_wave;
    if (chunk >= chunks) return;
    const int64_t image = chunk / z.chunk_parts * z.chunk_images, part = chunk % z.chunk_parts;
    sum_images(image, smaller(g.n, image + z.chunk_images), part * z.row_parts / z.chunk_parts,
               (part + 1) * z.row_parts / z.chunk_parts,
               partial + (in_wave * z.blocks + begin) * z.block_size);
    return;
  }
  for (int64_t block = begin; block < end; ++block) {
    T* const sums = total + block * z.block_size;
    if (job.repeat == 0) fill_zero(sums, z.block_size);
    for (int64_t i = 0; i < smaller(z.wave, chunks - wave_begin); ++i) {
      copy_run<T, T, T>(partial + (i * z.blocks + block) * z.block_size, sums, z.block_size, sums);
    }
    if (wave_begin + z.wave >= chunks) DepthwiseGradBlock<S>{task, g, z, block}.store(sums);
  }
}

inline void depthwise_grad_weight(const Task& task, const Job& job) {
  const auto& [g, z] = *(const Planned<DepthwiseGradPlan>*)job.details;
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    depthwise_grad_weight_job<std::remove_pointer_t<decltype(storage)>>(task, job, g, z);
  });
}

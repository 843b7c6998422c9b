// Dense and grouped forward and input gradient with pixels in the vector lanes: weights are
// broadcast against shifted walks over planes of the source. Few channels leave no lane empty, and
// in the contiguous layout nothing is transposed.
//
//     stage 0   pack the weight as [group][panel][chunk][phase][block][r, s][c][channels of the
//               panel], and see if it is finite: then rows of taps that only see padding may be
//               left out, they would add zeros
//     stage 1   job = images x groups x rows x columns x panels; for each chunk of source channels:
//               load the planes, then panel after panel, tiles of 8 channels x 48 pixels
//
// Included inside the namespace of each isa_*.cpp.
#pragma once

template <class S>
struct PixelJob {
  using T = Compute<S>;
  const Task& task;
  const Gather& g;
  const PixelPlan& z;
  int64_t image_begin, images, group_begin, groups;
  int64_t row_begin, rows, column_begin, columns;  // positions
  int64_t panel_begin, panel_end;
  // How the planes lie in memory.
  bool in_place;
  int64_t channel_pitch, image_pitch;
  const S* source;  // of the job's first image

  PixelJob(const Task& task, const Gather& g, const PixelPlan& z, int64_t index)
      : task(task), g(g), z(z) {
    const auto next = [&](int64_t count) {
      const int64_t at = index % count;
      index /= count;
      return at;
    };
    const int64_t piece = next(z.pieces);
    panel_begin = z.piece_begin(piece), panel_end = z.piece_begin(piece + 1);
    column_begin = next(z.column_jobs) * z.columns;
    columns = smaller(z.columns, g.columns.longest - column_begin);
    row_begin = next(z.row_jobs) * z.rows;
    rows = smaller(z.rows, g.rows.longest - row_begin);
    group_begin = next(z.group_jobs) * z.groups;
    groups = smaller(z.groups, g.groups - group_begin);
    image_begin = index * z.images;
    images = smaller(z.images, g.n - image_begin);

    const int64_t channels = g.groups * g.src_channels,
                  plane = g.rows.src_size * g.columns.src_size;
    source = (const S*)gather_source(task) + image_begin * channels * plane;
    // The last vector of a walk ends beyond its positions, the last plane of the tensor ends the
    // memory.
    const int64_t last_channel =
        (image_begin + images - 1) * channels + (group_begin + groups) * g.src_channels;
    const int64_t end = (last_channel - 1) * plane + (row_begin + g.rows.src_high) * z.pitch +
                        column_begin + g.columns.src_high + walked();
    in_place = z.in_place && end <= g.n * channels * plane;
    channel_pitch = in_place ? plane : z.channel_pitch();
    image_pitch = in_place ? channels * plane : z.image_pitch;
  }

  int64_t walk() const {
    return (z.merged ? images - 1 : 0) * z.image_pitch + (rows - 1) * z.pitch + columns;
  }

  // Positions that are read, whole blocks of them.
  int64_t walked() const {
    if (!z.by_rows) return round_up(walk(), kBlock<T>);
    return (rows - 1) * z.pitch + round_up(columns, kBlock<T>);
  }

  void load(T* band, int64_t chunk_begin, int64_t count) const {
    const int64_t height = g.rows.src_size, width = g.columns.src_size,
                  channels = g.groups * g.src_channels;
    const int64_t first = group_begin * g.src_channels + chunk_begin,
                  planes = z.row_planes * z.column_planes;
    const bool together = g.layout == Layout::kChannelsLast;  // all channels of a row at once
    const int64_t step = g.columns.src_step;
    // Planes that are read at once lie beside each other in a row.
    const bool at_once = !together && (step == 2 || step == 4) && z.column_planes == step &&
                         plane_first(g.columns, 1) == 1;
    for (int64_t c = 0; c < (together ? 1 : count); ++c) {
      for (int64_t plane = 0; plane < planes; plane += at_once ? step : 1) {
        const int64_t y = row_begin * g.rows.src_step + g.rows.src_low +
                          plane_first(g.rows, plane / z.column_planes);
        const int64_t x = column_begin * g.columns.src_step + g.columns.src_low +
                          plane_first(g.columns, plane % z.column_planes);
        const RowWindow window(x, g.columns.src_step, z.band_columns, width);
        for (int64_t n = 0; n < images; ++n) {
          const Image<S> image = {source + n * channels * height * width, g.layout, channels,
                                  height, width};
          T* const out = band + c * channel_pitch + plane * z.plane_pitch + n * z.image_pitch;
          if (at_once) {
            const auto load = step == 2 ? load_planes<2, S> : load_planes<4, S>;
            load(image, first + c, y, z.band_rows, g.rows.src_step, x, z.band_columns, out, z.pitch,
                 z.plane_pitch);
            continue;
          }
          if (!together) {
            load_plane<S>(image, first + c, y, z.band_rows, g.rows.src_step, window, out, z.pitch);
            continue;
          }
          for (int64_t i = 0; i < z.band_rows; ++i) {
            load_plane_row<S>(image, first, count, y + i * g.rows.src_step, window,
                              out + i * z.pitch, channel_pitch);
          }
        }
      }
    }
  }

  // Where the taps of a phase read, relative to the position of the walk: block, r, s, c.
  void fill_offsets(const AxisPhase& rows, const AxisPhase& columns, int64_t channels,
                    int64_t* offset) const {
    for (int64_t block = 0; block < channels; block += g.block) {
      for (int64_t i = 0; i < rows.taps; ++i) {
        const int64_t down = rows.src_first + i * rows.src_delta - g.rows.src_low;
        for (int64_t j = 0; j < columns.taps; ++j) {
          const int64_t right = columns.src_first + j * columns.src_delta - g.columns.src_low;
          const int64_t plane = i % z.row_planes * z.column_planes + j % z.column_planes;
          const int64_t at = block * channel_pitch + plane * z.plane_pitch +
                             down / g.rows.src_step * z.pitch + right / g.columns.src_step;
          for (int64_t c = 0; c < g.block; ++c) *offset++ = at + c * channel_pitch;
        }
      }
    }
  }

  // A walk that is the destination: whole blocks are summed in the result. The last part of a block
  // would be written beyond its end, so it goes through `sums`.
  void multiply_direct(Tile<T> tile, int64_t channels, int64_t length, T* sums) const {
    const int64_t rest = length % kBlock<T>;
    run_strip(tile, channels, length / kBlock<T>);
    if (!rest) return;
    Tile<T> part = tile;
    T* const end = tile.c + length - rest;
    part.b += length - rest;
    part.c = sums;
    part.c_row = kBlock<T>;
    for (int64_t m = 0; m < channels && tile.sum == Sum::kContinue; ++m) {
      copy_run<T, T, T>(end + m * tile.c_row, sums + m * kBlock<T>, rest, nullptr);
    }
    run_strip(part, channels, 1);
    for (int64_t m = 0; m < channels; ++m) {
      copy_run<T, T, T>(sums + m * kBlock<T>, end + m * tile.c_row, rest, nullptr);
    }
  }

  [[gnu::noinline]] void multiply_rows(Tile<T> tile, int64_t channels, T* sums) const {
    for (int64_t i = 0; i < rows; ++i) {
      multiply_direct(tile, channels, columns, sums);
      tile.b += z.pitch, tile.c += g.columns.dst_size;
    }
  }

  // The walk over one image in runs of rows that need the same taps. The last block of a run may end
  // in the next one, which is summed after it.
  void multiply_by_taps(const Tile<T>& tile, int64_t channels, const AxisPhase& rows,
                        const AxisPhase& columns, T* sums) const {
    for (int64_t first = 0; first < rows.size;) {
      const TapRun run(g.rows, rows, first, rows.size);
      const int64_t length = (run.end - first - 1) * z.pitch + this->columns;
      const int64_t taps = run.r_end - run.r_begin, row_steps = columns.taps * g.block;
      Tile<T> part = tile;
      part.a += run.r_begin * row_steps * tile.step;
      part.offset += run.r_begin * row_steps;
      part.b += first * z.pitch;
      part.c += first * z.pitch;
      part.depth = taps * row_steps;
      part.round_gap = (rows.taps - taps) * row_steps;
      part.rounds = g.src_channels / g.block;
      if (z.direct && first * z.pitch + round_up(length, kBlock<T>) > walk()) {
        multiply_direct(part, channels, length, sums);
      } else {
        run_strip(part, channels, ceil_div(length, kBlock<T>));
      }
      first = run.end;
    }
  }

  // One walk for each image, or for all.
  void multiply(Tile<T> tile, int64_t channels, int64_t channel, bool by_taps,
                const AxisPhase& rows, const AxisPhase& columns, T* sums) const {
    int64_t next = z.sums_image;
    if (z.direct) {
      const int64_t plane = g.rows.dst_size * g.columns.dst_size;
      tile.c_row = plane;
      tile.c = (T*)task.result + (image_begin * g.groups * g.dst_channels + channel) * plane +
               row_begin * g.columns.dst_size + column_begin;
      next = g.groups * g.dst_channels * plane;
    }
    for (int64_t n = 0; n < (z.merged ? 1 : images); ++n) {
      if (by_taps) {
        multiply_by_taps(tile, channels, rows, columns, sums);
      } else if (z.by_rows) {
        multiply_rows(tile, channels, sums);
      } else if (z.direct) {
        multiply_direct(tile, channels, walk(), sums);
      } else {
        run_strip(tile, channels, ceil_div(walk(), kBlock<T>));
      }
      tile.b += image_pitch;
      tile.c += next;
    }
  }

  // `count` channels of sums go to their places in the result.
  void store(const T* sums, int64_t channel, int64_t count, const AxisPhase& rows,
             const AxisPhase& columns) const {
    const int64_t height = g.rows.dst_size, width = g.columns.dst_size,
                  channels = g.groups * g.dst_channels;
    const int64_t row_step = g.rows.dst_step, step = g.columns.dst_step;
    const int64_t row_count = smaller(this->rows, rows.size - row_begin);
    const int64_t column_count = smaller(this->columns, columns.size - column_begin);
    if (row_count <= 0 || column_count <= 0) return;
    // Rows that follow each other without a gap are one row.
    const bool joined = row_step == 1 && step == 1 && z.pitch == width && column_count == width;
    const int64_t runs = joined ? 1 : row_count, run = joined ? row_count * width : column_count;
    const int64_t at =
        (rows.dst_first + row_begin * row_step) * width + columns.dst_first + column_begin * step;
    for (int64_t n = 0; n < images; ++n) {
      S* const image = (S*)task.result + (image_begin + n) * channels * height * width;
      const T* const from = sums + n * z.sums_image;
      if (g.layout == Layout::kChannelsLast) {
        for (int64_t i = 0; i < runs; ++i) {
          transpose_copy<T, S, T>(from + i * z.pitch, z.sums_pitch, count, run,
                                  image + (at + i * row_step * width) * channels + channel,
                                  step * channels, nullptr);
        }
        continue;
      }
      for (int64_t m = 0; m < count; ++m) {
        S* const to = image + (channel + m) * height * width + at;
        for (int64_t i = 0; i < runs; ++i) {
          store_run(from + m * z.sums_pitch + i * z.pitch, to + i * row_step * width, run, step);
        }
      }
    }
  }

  void run(const T* packed, char* scratch) const {
    int64_t* const offsets = (int64_t*)scratch;
    T* const band = (T*)(offsets + z.offsets_size);
    T* const sums = band + z.band_size;
    const T* const finite = packed + z.packed_size;
    const int64_t depth_all = g.src_channels * g.taps();
    const int64_t first_channel =
        group_begin * g.dst_channels + z.panel_begin(panel_begin, g.dst_channels);
    const int64_t job_channels = (groups - 1) * g.dst_channels +
                                 z.panel_begin(panel_end, g.dst_channels) -
                                 z.panel_begin(panel_begin, g.dst_channels);
    for (int64_t chunk = 0; chunk < z.chunks; ++chunk) {
      const int64_t c_begin = chunk * z.chunk, c_count = smaller(z.chunk, g.src_channels - c_begin);
      const bool last = chunk == z.chunks - 1;
      const T* planes = band;
      if (in_place) {
        planes = (const T*)source + (group_begin * g.src_channels + c_begin) * channel_pitch +
                 (row_begin + g.rows.src_low) * z.pitch + column_begin + g.columns.src_low;
      } else {
        load(band, c_begin, (groups - 1) * g.src_channels + c_count);
      }
      int64_t taps_before = 0;
      T* phase_sums = sums;
      for (int64_t phase = 0; phase < g.phases(); ++phase) {
        const AxisPhase rows = g.rows.phase(phase / g.columns.phases);
        const AxisPhase columns = g.columns.phase(phase % g.columns.phases);
        const int64_t taps = rows.taps * columns.taps;
        fill_offsets(rows, columns, c_count, offsets);
        for (int64_t group = 0; group < groups; ++group) {
          for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
            const int64_t channel = z.panel_begin(panel, g.dst_channels);
            const int64_t width = z.panel_begin(panel + 1, g.dst_channels) - channel;
            const int64_t dst = (group_begin + group) * g.dst_channels + channel;
            Tile<T> tile;
            tile.depth = c_count * taps;
            tile.a =
                packed + dst * depth_all + (c_begin * g.taps() + taps_before * c_count) * width;
            tile.step = width;
            tile.b = planes + group * g.src_channels * channel_pitch;
            tile.offset = offsets;
            tile.c = phase_sums + (z.keep_sums ? dst - first_channel : 0) * z.sums_pitch;
            tile.c_row = z.sums_pitch;
            tile.sum = chunk ? Sum::kContinue : Sum::kStart;
            T bias[kBlock<T>];  // at least kTileRows
            if (task.bias && last) {
              copy_run<S, T, T>((const S*)task.bias + dst, bias, width, nullptr);
              tile.row_bias = bias;
            }
            const bool by_taps = z.by_taps && finite[(group_begin + group) * z.panels + panel] != 0;
            multiply(tile, width, dst, by_taps, rows, columns, sums);
            if (last && !z.direct && g.layout == Layout::kContiguous)
              store(tile.c, dst, width, rows, columns);
          }
        }
        if (last && g.layout == Layout::kChannelsLast) {
          store(phase_sums, first_channel, job_channels, rows, columns);
        }
        taps_before += taps;
        if (z.chunks > 1) phase_sums += job_channels * z.sums_pitch;
      }
    }
  }
};

inline void pixel_lanes(const Task& task, const Job& job) {
  const auto& [g, z] = *(const Planned<PixelPlan>*)job.details;
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    using T = Compute<S>;
    T* const packed = (T*)job.shared;
    if (job.stage == 1) return PixelJob<S>(task, g, z, job.index).run(packed, job.scratch);
    const int64_t all = g.groups * z.panels;
    for (int64_t i = job.index * all / z.pack_jobs; i < (job.index + 1) * all / z.pack_jobs; ++i) {
      const int64_t group = i / z.panels, begin = z.panel_begin(i % z.panels, g.dst_channels);
      const int64_t width = z.panel_begin(i % z.panels + 1, g.dst_channels) - begin;
      T* const out = packed + (group * g.dst_channels + begin) * g.src_channels * g.taps();
      packed[z.packed_size + i] = pack_panel<S>(task, g, group, begin, width, width, z.chunk, out);
    }
  });
}

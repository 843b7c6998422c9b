// Dense forward and input gradient with output channels in the vector lanes: pixels of a band,
// found through a table of tap offsets, are broadcast against panels of packed weights. Takes any
// stride, dilation, padding and both layouts, which only the load and store stages see.
//
//     stage 0   pack the weight as [group][panel][phase][c, r, s][lanes], zero in surplus lanes
//     stage 1   job = images x rows x panels; for each chunk of source channels: load the band,
//               then panel after panel, row after row, tiles of 8 pixels x 48 channels
//
// Included inside the namespace of each isa_*.cpp.
#pragma once

// Packs the lanes [lane, lane + valid) of one group's destination channels for one panel.
template <class S>
void pack_panel(const Task& task, const Gather& g, int64_t group, int64_t lane, int64_t valid,
                int64_t width, Compute<S>* out) {
  using T = Compute<S>;
  const bool forward = task.op == Op::kForward;
  const int64_t* stride = task.weight_stride;
  // The weight of destination lane i and source channel c: at i * dst_stride + c * src_stride.
  const int64_t dst_stride = forward ? stride[0] : stride[1],
                src_stride = forward ? stride[1] : stride[0];
  const int64_t group_at = group * task.shape.k_per_group() * stride[0];
  const S* const weight = (const S*)task.weight + group_at + lane * dst_stride;
  const int64_t taps = g.taps(), r = g.rows.kernel, s = g.columns.kernel;
  if (valid < width) fill_zero(out, g.src_channels * taps * width);
  const bool every_tap = g.rows.dst_step == 1 && g.columns.dst_step == 1;
  if (every_tap && stride[3] == 1 && (r == 1 || stride[2] == s)) {
    if (src_stride == taps) {
      return transpose_copy<S, T, T>(weight, dst_stride, valid, g.src_channels * taps, out, width,
                                     nullptr);
    }
    if (dst_stride > 1) {
      for (int64_t c = 0; c < g.src_channels; ++c) {
        transpose_copy<S, T, T>(weight + c * src_stride, dst_stride, valid, taps,
                                out + c * taps * width, width, nullptr);
      }
      return;
    }
  }
  for (int64_t pr = 0; pr < g.rows.phases; ++pr) {
    const AxisPhase rows = g.rows.phase(pr);
    for (int64_t pc = 0; pc < g.columns.phases; ++pc) {
      const AxisPhase columns = g.columns.phase(pc);
      for (int64_t c = 0; c < g.src_channels; ++c) {
        for (int64_t i = 0; i < rows.taps; ++i) {
          for (int64_t j = 0; j < columns.taps; ++j, out += width) {
            const S* at = weight + c * src_stride +
                          (rows.kernel_first + i * rows.kernel_step) * stride[2] +
                          (columns.kernel_first + j * columns.kernel_step) * stride[3];
            if (dst_stride == 1) {
              copy_run<S, T, T>(at, out, valid, nullptr);
            } else {
              for (int64_t l = 0; l < valid; ++l) out[l] = to_compute(at[l * dst_stride]);
            }
          }
        }
      }
    }
  }
}

// The store stage: one destination row of sums [columns][width] goes to its place in the result.
template <class S>
struct RowStore {
  using T = Compute<S>;
  S* result;                        // of this image and channel 0 of the panel
  int64_t channels, height, width;  // of the whole result
  int64_t valid;                    // channels of this panel
  Layout layout;

  void operator()(const T* sums, int64_t sums_width, int64_t row, const AxisPhase& columns,
                  int64_t step) const {
    if (layout == Layout::kChannelsLast) {
      S* out = result + (row * width + columns.dst_first) * channels;
      for (int64_t j = 0; j < columns.size; ++j) {
        copy_run<T, S, T>(sums + j * sums_width, out + j * step * channels, valid, nullptr);
      }
      return;
    }
    const int64_t plane = height * width;
    S* out = result + row * width + columns.dst_first;
    if (step == 1) {
      return transpose_copy<T, S, T>(sums, sums_width, columns.size, valid, out, plane, nullptr);
    }
    for (int64_t k = 0; k < valid; ++k) {
      for (int64_t j = 0; j < columns.size; ++j) {
        from_compute(out + k * plane + j * step, sums[j * sums_width + k]);
      }
    }
  }
};

template <class S>
void channel_lanes_convolve(const Task& task, const Job& job, const Gather& g,
                            const ChannelPlan& z) {
  using T = Compute<S>;
  int64_t index = job.index;
  const int64_t piece = index % z.pieces;
  index /= z.pieces;
  const int64_t row_begin = index % z.row_jobs * z.rows;
  index /= z.row_jobs;
  const int64_t group = index % g.groups, image_begin = index / g.groups * z.images;
  const int64_t images = smaller(z.images, g.n - image_begin);
  const int64_t row_count = smaller(z.rows, g.rows.longest - row_begin);
  const int64_t panel_begin = z.piece_begin(piece), panel_end = z.piece_begin(piece + 1);

  int64_t* const offsets = (int64_t*)job.scratch;
  T* const band = (T*)(offsets + z.offsets_size);
  T* const sums = band + z.band_size;
  const T* const packed = (const T*)job.shared;

  const int64_t src_channels = g.groups * g.src_channels, dst_channels = g.groups * g.dst_channels;
  const int64_t src_image = src_channels * g.rows.src_size * g.columns.src_size;
  const int64_t dst_image = dst_channels * g.rows.dst_size * g.columns.dst_size;
  const S* const source = (const S*)gather_source(task) + image_begin * src_image;
  S* const result = (S*)task.result + image_begin * dst_image;

  const int64_t pixel_pitch = z.in_place ? src_channels : z.chunk;
  const int64_t row_pitch = pixel_pitch * (z.in_place ? g.columns.src_size : z.band_columns);
  const int64_t image_pitch = z.in_place ? src_image : z.band_rows * row_pitch;
  const int64_t source_row = row_begin * g.rows.src_step + g.rows.src_low;

  // One table of offsets per phase, in the order c, r, s; a shorter chunk uses its beginning.
  int64_t* offset = offsets;
  for (int64_t pr = 0; pr < g.rows.phases; ++pr) {
    const AxisPhase rows = g.rows.phase(pr);
    for (int64_t pc = 0; pc < g.columns.phases; ++pc) {
      const AxisPhase columns = g.columns.phase(pc);
      for (int64_t c = 0; c < z.chunk; ++c) {
        for (int64_t i = 0; i < rows.taps; ++i) {
          const int64_t at = c + (rows.src_first + i * rows.src_delta - g.rows.src_low) * row_pitch;
          for (int64_t j = 0; j < columns.taps; ++j) {
            *offset++ =
                at + (columns.src_first + j * columns.src_delta - g.columns.src_low) * pixel_pitch;
          }
        }
      }
    }
  }

  for (int64_t chunk = 0; chunk < z.chunks; ++chunk) {
    const int64_t c_begin = chunk * z.chunk, c_count = smaller(z.chunk, g.src_channels - c_begin);
    const bool first = chunk == 0, last = chunk == z.chunks - 1;
    const T* pixels = band;
    int64_t pixel = pixel_pitch, row = row_pitch, image = image_pitch;
    if (z.in_place) {
      pixels = (const T*)source +
               (source_row * g.columns.src_size + g.columns.src_low) * src_channels +
               group * g.src_channels + c_begin;
    } else {
      for (int64_t n = 0; n < images; ++n) {
        const Image<S> from = {source + n * src_image, g.layout, src_channels, g.rows.src_size,
                               g.columns.src_size};
        // Offsets count in whole chunks of channels, so a shorter chunk is loaded with the same
        // pitch.
        const BandWindow window = {source_row,
                                   z.band_rows,
                                   z.row_skip,
                                   g.columns.src_low,
                                   z.band_columns,
                                   z.column_skip,
                                   group * g.src_channels + c_begin,
                                   c_count};
        load_band(from, window, band + n * image_pitch, pixel_pitch);
      }
    }
    for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
      const int64_t vector = z.panel_begin(panel), blocks = z.panel_begin(panel + 1) - vector;
      const int64_t width = blocks * z.lanes, lane = vector * z.lanes;
      const int64_t valid = smaller(width, g.dst_channels - lane);
      const int64_t depth_all = g.src_channels * g.taps();
      const T* weights = packed + (group * z.vectors + vector) * z.lanes * depth_all;
      const int64_t first_channel = group * g.dst_channels + lane;
      T bias[kMaxBlocks * kBlock<T>] = {};
      if (task.bias) copy_run<S, T, T>((const S*)task.bias + first_channel, bias, valid, nullptr);
      // Whole vectors in the result's own layout and type: it holds the sums itself.
      constexpr bool kSameType = std::is_same_v<S, T>;
      const bool direct = kSameType && g.layout == Layout::kChannelsLast && valid == width;
      const int64_t plane = g.rows.dst_size * g.columns.dst_size;
      RowStore<S> store = {nullptr, dst_channels, g.rows.dst_size, g.columns.dst_size,
                           valid,   g.layout};
      T* sums_at = sums;
      if (z.chunks > 1) {
        sums_at += (panel - panel_begin) * g.phases() * z.images * z.rows * g.columns.longest *
                   kMaxBlocks * z.lanes;
      }
      const int64_t* table = offsets;
      for (int64_t pr = 0; pr < g.rows.phases; ++pr) {
        const AxisPhase rows = g.rows.phase(pr);
        for (int64_t pc = 0; pc < g.columns.phases; ++pc) {
          const AxisPhase columns = g.columns.phase(pc);
          const int64_t taps = rows.taps * columns.taps;
          Tile<T> tile;
          tile.depth = c_count * taps;
          tile.a_row = pixel * z.column_advance;
          tile.b = weights + c_begin * taps * width;
          tile.step = width;
          tile.offset = table;
          tile.c_row = direct ? g.columns.dst_step * dst_channels : width;
          tile.bias = task.bias && last ? bias : nullptr;
          tile.sum = first ? Sum::kStart : Sum::kContinue;
          const int64_t tiles = ceil_div(columns.size, tile_rows_of(blocks));
          const int64_t rows_here = smaller(row_count, rows.size - row_begin);
          for (int64_t n = 0; n < images; ++n) {
            store.result =
                result + n * dst_image +
                (g.layout == Layout::kChannelsLast ? first_channel : first_channel * plane);
            for (int64_t i = 0; i < rows_here; ++i) {
              const T* const at = pixels + n * image + i * z.row_advance * row;
              const int64_t dst_row = rows.dst_first + (row_begin + i) * g.rows.dst_step;
              T* const row_sums =
                  direct ? (T*)store.result +
                               (dst_row * g.columns.dst_size + columns.dst_first) * dst_channels
                         : sums_at;
              for (int64_t t = 0; t < tiles; ++t) {
                const int64_t j = t * columns.size / tiles;
                tile.a = at + j * tile.a_row;
                tile.c = row_sums + j * tile.c_row;
                run_tile<T, Steps::kTableA>(tile, (t + 1) * columns.size / tiles - j, blocks);
              }
              if (last && !direct) store(sums_at, width, dst_row, columns, g.columns.dst_step);
              if (z.chunks > 1) sums_at += g.columns.longest * kMaxBlocks * z.lanes;
            }
          }
          weights += g.src_channels * taps * width;
          table += z.chunk * taps;
        }
      }
    }
  }
}

inline void channel_lanes(const Task& task, const Job& job) {
  const Gather g = ((const ChannelDetails*)job.details)->gather;
  const ChannelPlan z = ((const ChannelDetails*)job.details)->plan;
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    if (job.stage == 0) {
      const int64_t group = job.index / z.panels, panel = job.index % z.panels;
      const int64_t vector = z.panel_begin(panel), blocks = z.panel_begin(panel + 1) - vector;
      const int64_t lane = vector * z.lanes, width = blocks * z.lanes;
      Compute<S>* out = (Compute<S>*)job.shared +
                        (group * z.vectors + vector) * z.lanes * g.src_channels * g.taps();
      return pack_panel<S>(task, g, group, lane, smaller(width, g.dst_channels - lane), width, out);
    }
    channel_lanes_convolve<S>(task, job, g, z);
  });
}

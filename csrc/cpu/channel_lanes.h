// Dense forward and input gradient with output channels in the vector lanes: pixels of a band,
// found through a table of tap offsets, are broadcast against panels of packed weights. Takes any
// stride, dilation, padding and both layouts, which only the load and store stages see.
//
//     stage 0   pack the weight as [group][slab][chunk][phase][block][r, s][c][lanes], zero in
//               surplus lanes, and see if it is finite; jobs of many weights and few pixels do so
//               themselves
//     stage 1   job = images x rows x panels; for each chunk of source channels: load the band,
//               then slab after slab register tiles, whose rows are pixels of a row or the same
//               pixel of several images
//
// A slab is what a register tile has in its lanes: a panel, or a third of one where registers are
// few. Taps that only see padding are left out if the slab is finite: they would add zeros.
//
// Included inside the namespace of each isa_*.cpp.
#pragma once

template <class S>
struct ChannelJob {
  using T = Compute<S>;
  const Task& task;
  const Gather& g;
  const ChannelPlan& z;
  int64_t group, image_begin, images, row_begin, row_count, panel_begin, panel_end;
  int64_t src_channels, dst_channels, src_image, dst_image;
  int64_t pixel_pitch, row_pitch, image_pitch;  // of the band, or of the source in place

  // What the lanes of a register tile hold, and which part of the sum is being added to it.
  struct Slab {
    int64_t blocks, width, valid, first_channel;
    bool skip_padding;
    bool direct;  // whole vectors in the result's own layout and type: it holds the sums itself
    bool first, last;
    int64_t channels;  // source channels of this chunk
    T bias[kMaxBlocks * kBlock<T>] = {};
  };

  ChannelJob(const Task& task, const Gather& g, const ChannelPlan& z, int64_t index)
      : task(task), g(g), z(z) {
    const int64_t piece = index % z.pieces;
    index /= z.pieces;
    row_begin = index % z.row_jobs * z.rows;
    index /= z.row_jobs;
    group = index % g.groups, image_begin = index / g.groups * z.images;
    images = smaller(z.images, g.n - image_begin);
    row_count = smaller(z.rows, g.rows.longest - row_begin);
    panel_begin = piece * z.piece_panels(), panel_end = panel_begin + z.piece_panels();
    src_channels = g.groups * g.src_channels, dst_channels = g.groups * g.dst_channels;
    src_image = src_channels * g.rows.src_size * g.columns.src_size;
    dst_image = dst_channels * g.rows.dst_size * g.columns.dst_size;
    pixel_pitch = z.in_place ? src_channels : z.chunk;
    row_pitch = pixel_pitch * (z.in_place ? g.columns.src_size : z.band_columns);
    image_pitch = z.in_place ? src_image : z.image_pitch;
  }

  // One table of offsets per phase, in the order block, r, s, c.
  void fill_offsets(int64_t* offset, int64_t channels) const {
    for (int64_t pr = 0; pr < g.rows.phases; ++pr) {
      const AxisPhase rows = g.rows.phase(pr);
      for (int64_t pc = 0; pc < g.columns.phases; ++pc) {
        const AxisPhase columns = g.columns.phase(pc);
        for (int64_t block = 0; block < channels; block += g.block) {
          for (int64_t i = 0; i < rows.taps; ++i) {
            const int64_t down = z.sections > 1
                                     ? i * z.section_rows
                                     : rows.src_first + i * rows.src_delta - g.rows.src_low;
            for (int64_t j = 0; j < columns.taps; ++j) {
              const int64_t right = columns.src_first + j * columns.src_delta - g.columns.src_low;
              const int64_t at = block + down * row_pitch + right * pixel_pitch;
              for (int64_t c = 0; c < g.block; ++c) *offset++ = at + c;
            }
          }
        }
      }
    }
  }

  // The pixel that position 0 of this job's first row reads with the lowest tap.
  const T* load(T* band, int64_t c_begin, int64_t c_count) const {
    const S* const source = (const S*)gather_source(task) + image_begin * src_image;
    const int64_t row = row_begin * g.rows.src_step, channel = group * g.src_channels + c_begin;
    if (z.in_place) {
      return (const T*)source + (row + g.rows.src_low) * row_pitch +
             g.columns.src_low * pixel_pitch + channel;
    }
    BandWindow window = {
        0,       z.section_rows, z.row_skip, g.columns.src_low, z.band_columns, z.column_skip,
        channel, c_count};
    const AxisPhase rows = g.rows.phase(0);
    for (int64_t n = 0; n < images; ++n) {
      const Image<S> from = {source + n * src_image, g.layout, src_channels, g.rows.src_size,
                             g.columns.src_size};
      for (int64_t i = 0; i < z.sections; ++i) {
        window.row = row + (z.sections > 1 ? rows.src_first + i * rows.src_delta : g.rows.src_low);
        load_band(from, window, band + n * image_pitch + i * z.section_rows * row_pitch,
                  pixel_pitch);
      }
    }
    return band;
  }

  void run(const T* packed, const T* skip_padding, char* scratch) {
    int64_t* const offsets = (int64_t*)scratch;
    T* const band = (T*)(offsets + z.offsets_size);
    T* const sums = band + z.band_size;
    T* const own_weights = sums + z.sums_size;
    const int64_t depth = g.src_channels * g.taps(), row_sums = g.columns.longest * z.lanes;
    for (int64_t chunk = 0; chunk < z.chunks; ++chunk) {
      const int64_t c_begin = chunk * z.chunk;
      Slab slab;
      slab.channels = smaller(z.chunk, g.src_channels - c_begin);
      slab.first = chunk == 0, slab.last = chunk == z.chunks - 1;
      const T* const pixels = load(band, c_begin, slab.channels);
      if (slab.first || slab.channels < z.chunk) fill_offsets(offsets, slab.channels);
      const int64_t vector_begin = z.panel_begin(panel_begin),
                    vector_end = z.panel_begin(panel_end);
      int64_t panel = panel_begin;
      for (int64_t vector = vector_begin; vector < vector_end; vector += slab.blocks) {
        if (vector == z.panel_begin(panel + 1)) ++panel;
        slab.blocks = smaller(z.panel_begin(panel + 1) - vector, kSlabBlocks<T>);
        slab.width = slab.blocks * z.lanes;
        slab.valid = smaller(slab.width, g.dst_channels - vector * z.lanes);
        slab.first_channel = group * g.dst_channels + vector * z.lanes;
        slab.direct = std::is_same_v<S, T> && g.layout == Layout::kChannelsLast &&
                      slab.valid % Simd<T>::kLanes == 0;
        if (task.bias) {
          copy_run<S, T, T>((const S*)task.bias + slab.first_channel, slab.bias, slab.valid,
                            nullptr);
        }
        const T* weights;
        if (z.pack_in_job) {
          weights = own_weights;
          const bool finite = pack_chunk<S>(task, g, group, vector * z.lanes, slab.valid,
                                            slab.width, c_begin, slab.channels, own_weights);
          slab.skip_padding = z.padded && finite;
        } else {
          weights = packed + (group * z.vectors + vector) * z.lanes * depth +
                    c_begin * g.taps() * slab.width;
          slab.skip_padding = skip_padding[group * z.panels + panel] != 0;
        }
        const int64_t* table = offsets;
        T* slab_sums = sums;
        if (z.chunks > 1) {
          slab_sums += (vector - vector_begin) * g.phases() * z.images * z.rows * row_sums;
        }
        for (int64_t pr = 0; pr < g.rows.phases; ++pr) {
          const AxisPhase rows = g.rows.phase(pr);
          for (int64_t pc = 0; pc < g.columns.phases; ++pc) {
            const AxisPhase columns = g.columns.phase(pc);
            const int64_t taps = rows.taps * columns.taps;
            if (z.across_images && images >= kTileImages) {
              sum_across_images(slab, rows, columns, pixels, weights, table, slab_sums);
            } else {
              sum_along_rows(slab, rows, columns, pixels, weights, table, slab_sums);
            }
            weights += slab.channels * taps * slab.width;
            table += slab.channels * taps;
            if (z.chunks > 1) slab_sums += z.images * z.rows * row_sums * slab.blocks;
          }
        }
      }
    }
  }

  // Which taps a tile needs: rows [r_begin, r_end) and columns [s_begin, s_end) of the phase.
  void choose_taps(Tile<T>& tile, const Slab& slab, const AxisPhase& rows, const AxisPhase& columns,
                   int64_t r_begin, int64_t r_end, int64_t s_begin, int64_t s_end) const {
    const int64_t r = r_end - r_begin, s = s_end - s_begin;
    const int64_t first = (r_begin * columns.taps + s_begin) * g.block;
    tile.offset += first;
    tile.b += first * slab.width;
    tile.depth = s * g.block, tile.burst_gap = (columns.taps - s) * g.block;
    tile.bursts = r, tile.round_gap = (rows.taps - r) * columns.taps * g.block;
    tile.rounds = slab.channels / g.block;
    if (s < columns.taps) return;
    tile.depth *= tile.bursts, tile.bursts = 1;
    if (r < rows.taps) return;
    tile.depth *= tile.rounds, tile.rounds = 1;
  }

  Tile<T> make_tile(const Slab& slab, const T* weights, const int64_t* table) const {
    Tile<T> tile;
    tile.b = weights;
    tile.step = slab.width;
    tile.offset = table;
    tile.lane_bias = task.bias && slab.last ? slab.bias : nullptr;
    tile.sum = slab.first ? Sum::kStart : Sum::kContinue;
    return tile;
  }

  S* result(const Slab& slab, int64_t image) const {
    const int64_t plane =
        g.layout == Layout::kChannelsLast ? 1 : g.rows.dst_size * g.columns.dst_size;
    return (S*)task.result + (image_begin + image) * dst_image + slab.first_channel * plane;
  }

  RowStore<S> store(const Slab& slab, int64_t image) const {
    return {result(slab, image), dst_channels, g.rows.dst_size,
            g.columns.dst_size,  slab.valid,   g.layout};
  }

  void sum_along_rows(const Slab& slab, const AxisPhase& rows, const AxisPhase& columns,
                      const T* pixels, const T* weights, const int64_t* table, T* sums) {
    const int64_t count = smaller(row_count, rows.size - row_begin);
    const RowParts parts(g.columns, columns, slab.skip_padding);
    for (int64_t n = 0; n < images; ++n) {
      const RowStore<S> store = this->store(slab, n);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t dst_row = rows.dst_first + (row_begin + i) * g.rows.dst_step;
        int64_t r_begin = 0, r_end = rows.taps;
        if (slab.skip_padding)
          inner_taps(g.rows, rows, row_begin + i, row_begin + i, r_begin, r_end);
        for (int64_t part = 0; part < parts.count; ++part) {
          const int64_t j = parts.begin[part];
          Tile<T> tile = make_tile(slab, weights, table);
          choose_taps(tile, slab, rows, columns, r_begin, r_end, parts.s_begin[part],
                      parts.s_end[part]);
          tile.a_row = z.column_advance * pixel_pitch;
          tile.a = pixels + n * image_pitch + i * z.row_advance * row_pitch + j * tile.a_row;
          tile.c_row = slab.direct ? g.columns.dst_step * dst_channels : slab.width;
          tile.c =
              (slab.direct ? (T*)store.pixel(dst_row, columns.dst_first) : sums) + j * tile.c_row;
          run_rows<T, Steps::kTableA>(tile, parts.begin[part + 1] - j, slab.valid);
        }
        if (slab.last && !slab.direct)
          store(sums, slab.width, dst_row, columns, g.columns.dst_step);
        if (z.chunks > 1) sums += g.columns.longest * slab.width;
      }
    }
  }

  // For small maps: no row is too short for a tile, and each pixel leaves out its own padding.
  void sum_across_images(const Slab& slab, const AxisPhase& rows, const AxisPhase& columns,
                         const T* pixels, const T* weights, const int64_t* table, T* sums) {
    const int64_t count = smaller(row_count, rows.size - row_begin);
    const int64_t row_sums = columns.size * slab.width, image_sums = z.rows * row_sums;
    const RowStore<S> first = store(slab, 0);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t dst_row = rows.dst_first + (row_begin + i) * g.rows.dst_step;
      int64_t r_begin = 0, r_end = rows.taps;
      if (slab.skip_padding) inner_taps(g.rows, rows, row_begin + i, row_begin + i, r_begin, r_end);
      for (int64_t j = 0; j < columns.size; ++j) {
        int64_t s_begin = 0, s_end = columns.taps;
        if (slab.skip_padding) inner_taps(g.columns, columns, j, j, s_begin, s_end);
        Tile<T> tile = make_tile(slab, weights, table);
        choose_taps(tile, slab, rows, columns, r_begin, r_end, s_begin, s_end);
        tile.a = pixels + i * z.row_advance * row_pitch + j * z.column_advance * pixel_pitch;
        tile.a_row = image_pitch;
        tile.c = slab.direct ? (T*)first.pixel(dst_row, columns.dst_first + j * g.columns.dst_step)
                             : sums + i * row_sums + j * slab.width;
        tile.c_row = slab.direct ? dst_image : image_sums;
        run_rows<T, Steps::kTableA>(tile, images, slab.valid);
      }
    }
    if (!slab.last || slab.direct) return;
    for (int64_t n = 0; n < images; ++n) {
      const RowStore<S> store = this->store(slab, n);
      const T* const from = sums + n * image_sums;
      if (g.phases() == 1) {  // the rows of a job are one run of pixels
        store.run(from, slab.width, row_begin * g.columns.dst_size, count * g.columns.dst_size, 1);
        continue;
      }
      for (int64_t i = 0; i < count; ++i) {
        store(from + i * row_sums, slab.width, rows.dst_first + (row_begin + i) * g.rows.dst_step,
              columns, g.columns.dst_step);
      }
    }
  }
};

// Packs one panel, slab by slab, and notes if padding may be left out.
template <class S>
void pack_slabs(const Task& task, const Gather& g, const ChannelPlan& z, int64_t index,
                Compute<S>* packed) {
  using T = Compute<S>;
  const int64_t group = index / z.panels, panel = index % z.panels;
  const int64_t begin = z.panel_begin(panel), end = z.panel_begin(panel + 1);
  const int64_t depth = g.src_channels * g.taps();
  T* out = packed + (group * z.vectors + begin) * z.lanes * depth;
  bool skip_padding = z.padded;
  for (int64_t vector = begin; vector < end; vector += kSlabBlocks<T>) {
    const int64_t lane = vector * z.lanes;
    const int64_t width = smaller(end - vector, kSlabBlocks<T>) * z.lanes;
    skip_padding &= pack_panel<S>(task, g, group, lane, smaller(width, g.dst_channels - lane),
                                  width, z.chunk, out);
    out += depth * width;
  }
  packed[z.packed_size + index] = skip_padding;
}

inline void channel_lanes(const Task& task, const Job& job) {
  const auto& [g, z] = *(const Planned<ChannelPlan>*)job.details;
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    auto* const packed = (Compute<S>*)job.shared;
    if (job.stage == 0 && !z.pack_in_job) return pack_slabs<S>(task, g, z, job.index, packed);
    ChannelJob<S>(task, g, z, job.index).run(packed, packed + z.packed_size, job.scratch);
  });
}

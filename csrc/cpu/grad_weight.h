// Weight gradient: for every tap a matrix product over pixels, grad x shifted input. Vectors run
// along the input channels, or along the output channels where the layer has few inputs; in the
// other operand tile rows are broadcast.
//
//     job of stage 0   one block of the result over one chunk of samples (or over all of them)
//     job of stage 1   adds the sums of a wave of chunks to the total, in the order of the samples
//
// A pass loads the operands of some rows or images; groups of its pixels are summed in registers,
// then added to the block. Included inside the namespace of each isa_*.cpp.
#pragma once

template <class S>
struct GradWeightBlock {
  using T = Compute<S>;
  const Task& task;
  const Gather& g;
  const GradWeightPlan& z;
  int64_t group, lane_begin, lane_count, row_begin, row_count;

  GradWeightBlock(const Task& task, const Gather& g, const GradWeightPlan& z, int64_t block)
      : task(task), g(g), z(z) {
    const int64_t wide = block % z.wide_blocks, tall = block / z.wide_blocks % z.tall_blocks;
    group = block / z.wide_blocks / z.tall_blocks;
    lane_begin = wide * z.wide;
    lane_count =
        smaller(z.wide, (z.outputs_in_lanes ? g.dst_channels : g.src_channels) - lane_begin);
    row_begin = tall * z.tall;
    row_count = smaller(z.tall, (z.outputs_in_lanes ? g.src_channels : g.dst_channels) - row_begin);
  }

  int64_t input_begin() const { return z.outputs_in_lanes ? row_begin : lane_begin; }
  int64_t input_count() const { return z.outputs_in_lanes ? row_count : lane_count; }
  int64_t grad_begin() const { return z.outputs_in_lanes ? lane_begin : row_begin; }
  int64_t grad_count() const { return z.outputs_in_lanes ? lane_count : row_count; }

  // sums [tap][tall][wide] += output rows [begin, end) of the images [n_begin, n_end)
  void add(int64_t n_begin, int64_t n_end, int64_t begin, int64_t end, char* scratch,
           T* sums) const {
    for (int64_t n = n_begin; n < n_end; n += z.images) {
      for (int64_t p = begin; p < end; p += z.rows) {
        Pass pass(*this, n, smaller(z.images, n_end - n), p, smaller(z.rows, end - p), scratch);
        pass.load();
        for (int64_t first = 0, count; first < pass.pixels; first += count) {
          const int64_t rest = pass.pixels - first;
          count = ceil_div(rest, ceil_div(rest, kSumPixels));
          add_pixels(pass, first, count, sums);
        }
      }
    }
  }

  // The operands of a pass and where its pixels find them.
  struct Pass {
    static constexpr int64_t kSlab = kSlabBlocks<T> * kBlock<T>;  // lanes from pixel to pixel
    const GradWeightBlock& block;
    const Task& task;
    const Gather& g;
    const GradWeightPlan& z;
    int64_t image, images, row, rows, pixels;
    int64_t *tall_offset, *slab_offset;  // [pixel]
    int64_t *pixel_row, *pixel_column;   // [pixel]
    int64_t *inner_tall, *inner_slab;    // offsets of those pixels of a group that a tap needs
    bool skip_padding;                   // grad is finite: where the input is zero it adds nothing
    T *slabs, *tall_band;
    const T* tall;                    // the broadcast operand
    int64_t slab_pitch;               // elements from slab to slab
    int64_t tall_pitch;               // from channel to channel
    int64_t row_pitch, column_pitch;  // of the input's band

    Pass(const GradWeightBlock& block, int64_t image, int64_t images, int64_t row, int64_t rows,
         char* scratch)
        : block(block),
          task(block.task),
          g(block.g),
          z(block.z),
          image(image),
          images(images),
          row(row),
          rows(rows),
          pixels(images * rows * g.columns.dst_size) {
      tall_offset = (int64_t*)scratch, slab_offset = tall_offset + z.offsets_size;
      pixel_row = slab_offset + z.offsets_size, pixel_column = pixel_row + z.offsets_size;
      inner_tall = pixel_column + z.offsets_size, inner_slab = inner_tall + z.offsets_size;
      slabs = (T*)(inner_slab + z.offsets_size), tall_band = slabs + z.slabs_size;
      tall = tall_band;
      slab_pitch = (z.outputs_in_lanes ? pixels : images * z.band_rows * z.band_columns) * kSlab;
      tall_pitch = !z.planes           ? 1
                   : z.planes_in_place ? g.rows.dst_size * g.columns.dst_size
                                       : pixels;
      column_pitch = z.outputs_in_lanes ? z.tall_pitch : kSlab;
      row_pitch = z.band_columns * column_pitch;
    }

    void load() {
      const int64_t lanes = block.lane_count, count = block.row_count;
      if (z.outputs_in_lanes) {
        for (int64_t l = 0; l < lanes; l += kSlab) {
          load_grad(block.lane_begin + l, smaller(kSlab, lanes - l), slabs + l / kSlab * slab_pitch,
                    kSlab);
        }
        load_input(block.row_begin, count, tall_band, z.tall_pitch);
      } else {
        for (int64_t l = 0; l < lanes; l += kSlab) {
          load_input(block.lane_begin + l, smaller(kSlab, lanes - l),
                     slabs + l / kSlab * slab_pitch, kSlab);
        }
        if (z.planes) {
          load_grad_planes();
        } else {
          load_grad(block.row_begin, count, tall_band, z.tall_pitch);
        }
      }
      fill_offsets();
      skip_padding = z.skip_padding && grad_is_finite();
    }

    bool grad_is_finite() const {
      bool finite = true;
      if (z.planes) {
        const int64_t run = rows * g.columns.dst_size;
        for (int64_t n = 0; n < images; ++n) {
          const T* const from = tall + tall_offset[n * run];
          for (int64_t k = 0; k < block.row_count; ++k)
            finite &= all_finite(from + k * tall_pitch, run);
        }
        return finite;
      }
      for (int64_t i = 0; i < pixels; ++i) {
        if (!z.outputs_in_lanes) {
          finite &= all_finite(tall + tall_offset[i], block.row_count);
          continue;
        }
        for (int64_t l = 0; l < block.lane_count; l += kSlab) {
          finite &= all_finite(slabs + l / kSlab * slab_pitch + slab_offset[i],
                               smaller(kSlab, block.lane_count - l));
        }
      }
      return finite;
    }

    // Those of `count` pixels from `first` on whose tap (i, j) lies inside the input.
    int64_t inner_pixels(int64_t first, int64_t count, int64_t i, int64_t j) const {
      const AxisPhase down = g.rows.phase(0), right = g.columns.phase(0);
      const auto inside = [](const Axis& a, const AxisPhase& phase, int64_t tap, int64_t low,
                             int64_t high) {
        const int64_t at = phase.src_first + tap * phase.src_delta;
        return low * a.src_step + at >= 0 && high * a.src_step + at < a.src_size;
      };
      if (images == 1 && inside(g.rows, down, i, pixel_row[first], pixel_row[first + count - 1]) &&
          inside(g.columns, right, j, 0, g.columns.dst_size - 1)) {
        return count;
      }
      int64_t inner = 0;
      for (int64_t at = first; at < first + count; ++at) {
        const int64_t y = pixel_row[at] * g.rows.src_step + down.src_first + i * down.src_delta;
        const int64_t x =
            pixel_column[at] * g.columns.src_step + right.src_first + j * right.src_delta;
        inner_tall[inner] = tall_offset[at], inner_slab[inner] = slab_offset[at];
        inner += y >= 0 && y < g.rows.src_size && x >= 0 && x < g.columns.src_size;
      }
      return inner;
    }

    void fill_offsets() const {
      const int64_t q = g.columns.dst_size, band = z.band_rows * row_pitch;
      int64_t* const input = z.outputs_in_lanes ? tall_offset : slab_offset;
      int64_t* const grad = z.outputs_in_lanes ? slab_offset : tall_offset;
      const int64_t grad_image =
          z.planes_in_place ? g.groups * g.dst_channels * g.rows.dst_size * q : rows * q;
      const int64_t grad_pixel = z.outputs_in_lanes ? kSlab : z.planes ? 1 : z.tall_pitch;
      for (int64_t n = 0, i = 0; n < images; ++n) {
        for (int64_t y = 0; y < rows; ++y) {
          for (int64_t x = 0; x < q; ++x, ++i) {
            input[i] =
                n * band + y * z.row_advance * row_pitch + x * z.column_advance * column_pitch;
            pixel_row[i] = row + y, pixel_column[i] = x;
            grad[i] = z.planes_in_place ? n * grad_image + y * q + x : i * grad_pixel;
          }
        }
      }
    }

    // Channels of the block's group, from `channel` on, to [image][row][column][pitch].
    void load_input(int64_t channel, int64_t count, T* out, int64_t pitch) const {
      const int64_t c = g.groups * g.src_channels, h = g.rows.src_size, w = g.columns.src_size;
      const AxisPhase down = g.rows.phase(0);
      const int64_t halo = z.section_rows - (z.rows - 1) * z.row_advance;
      BandWindow window = {0,
                           (rows - 1) * z.row_advance + halo,
                           z.row_skip,
                           g.columns.src_low,
                           z.band_columns,
                           z.column_skip,
                           block.group * g.src_channels + channel,
                           count};
      for (int64_t n = 0; n < images; ++n) {
        const Image<S> from = {(const S*)task.input + (image + n) * c * h * w, g.layout, c, h, w};
        for (int64_t i = 0; i < z.sections; ++i) {
          window.row = row * g.rows.src_step +
                       (z.sections > 1 ? down.src_first + i * down.src_delta : g.rows.src_low);
          load_band(from, window,
                    out + (n * z.band_rows + i * z.section_rows) * z.band_columns * pitch, pitch);
        }
      }
    }

    void load_grad(int64_t channel, int64_t count, T* out, int64_t pitch) const {
      const int64_t k = g.groups * g.dst_channels, p = g.rows.dst_size, q = g.columns.dst_size;
      const BandWindow window = {row,  rows, 1, 0, q, 1, block.group * g.dst_channels + channel,
                                 count};
      for (int64_t n = 0; n < images; ++n) {
        const Image<S> from = {(const S*)task.grad + (image + n) * k * p * q, g.layout, k, p, q};
        load_band(from, window, out + n * rows * q * pitch, pitch);
      }
    }

    void load_grad_planes() {
      const int64_t q = g.columns.dst_size, plane = g.rows.dst_size * q, run = rows * q;
      const int64_t first = block.group * g.dst_channels + block.row_begin;
      const int64_t image_size = g.groups * g.dst_channels * plane;
      const S* const from = (const S*)task.grad + image * image_size + first * plane + row * q;
      if (z.planes_in_place) {
        tall = (const T*)from;
        return;
      }
      for (int64_t k = 0; k < block.row_count; ++k) {
        for (int64_t n = 0; n < images; ++n) {
          copy_run<S, T, T>(from + n * image_size + k * plane, tall_band + k * tall_pitch + n * run,
                            run, nullptr);
        }
      }
    }
  };

  void add_pixels(const Pass& pass, int64_t first, int64_t count, T* sums) const {
    const AxisPhase rows = g.rows.phase(0), columns = g.columns.phase(0);
    Tile<T> tile;
    tile.depth = count;
    tile.offset = pass.tall_offset + first;
    tile.b_offset = pass.slab_offset + first;
    tile.c_row = z.wide;
    tile.sum = Sum::kAdd;
    tile.a_row = pass.tall_pitch;
    // Neighbouring taps of a row are neighbouring channels where pixels touch: more rows per tile.
    const bool one_input = g.src_channels == 1 && z.outputs_in_lanes;
    const bool merged = z.outputs_in_lanes && z.tall_blocks == 1 &&
                        (one_input || (columns.src_delta == 1 && z.tall_pitch == row_count));
    const int64_t tap_row = (z.sections > 1 ? z.section_rows : rows.src_delta) * pass.row_pitch,
                  tap_column = columns.src_delta * pass.column_pitch;
    if (one_input) tile.a_row = tap_column;
    const int64_t tile_rows = merged ? columns.taps * row_count : row_count;
    for (int64_t i = 0; i < rows.taps; ++i) {
      for (int64_t j = 0; j < (merged ? 1 : columns.taps); ++j) {
        const int64_t tap = i * tap_row + j * tap_column;
        if (pass.skip_padding && !merged) {
          tile.depth = pass.inner_pixels(first, count, i, j);
          if (tile.depth == 0) continue;
          tile.offset = tile.depth < count ? pass.inner_tall : pass.tall_offset + first;
          tile.b_offset = tile.depth < count ? pass.inner_slab : pass.slab_offset + first;
        }
        T* const block = sums + (i * columns.taps + j) * z.tall * z.wide;
        for (int64_t lane = 0; lane < lane_count; lane += Pass::kSlab) {
          tile.a = pass.tall + (z.outputs_in_lanes ? tap : 0);
          tile.b =
              pass.slabs + lane / Pass::kSlab * pass.slab_pitch + (z.outputs_in_lanes ? 0 : tap);
          tile.c = block + lane;
          const int64_t blocks = ceil_div(smaller(Pass::kSlab, lane_count - lane), z.lanes);
          run_rows<T, Steps::kTables>(tile, tile_rows, blocks);
        }
      }
    }
  }

  // Writes the block's part of the result, [k][c][r][s] or [k][r][s][c].
  void store(const T* sums) const {
    const int64_t c = g.src_channels / z.merged, k = g.dst_channels / z.merged;
    S* const result = (S*)task.result + group * g.dst_channels * c * g.taps();
    if (z.merged == 1) {
      return store_part(sums, row_count, lane_count, result + grad_begin() * c * g.taps(),
                        input_begin());
    }
    // Merged groups are one block.
    for (int64_t i = 0; i < z.merged; ++i) {
      const int64_t rows = z.outputs_in_lanes ? c : k, lanes = z.outputs_in_lanes ? k : c;
      store_part(sums + i * rows * z.wide + i * lanes, rows, lanes, result + i * k * c * g.taps(),
                 0);
    }
  }

  void store_part(const T* sums, int64_t rows, int64_t lanes, S* result, int64_t input) const {
    const int64_t taps = g.taps(), c = g.src_channels / z.merged, plane = z.tall * z.wide;
    // With one tap both layouts are the same.
    if (g.layout == Layout::kContiguous && taps > 1) {
      S* const out = result + input * taps;
      for (int64_t m = 0; m < rows; ++m) {
        const int64_t row = z.outputs_in_lanes ? m * taps : m * c * taps;
        const int64_t lane = z.outputs_in_lanes ? c * taps : taps;
        transpose_copy<T, S, T>(sums + m * z.wide, plane, taps, lanes, out + row, lane, nullptr);
      }
      return;
    }
    for (int64_t tap = 0; tap < taps; ++tap) {
      const T* const from = sums + tap * plane;
      S* const out = result + tap * c + input;
      if (z.outputs_in_lanes) {
        transpose_copy<T, S, T>(from, z.wide, rows, lanes, out, c * taps, nullptr);
        continue;
      }
      for (int64_t m = 0; m < rows; ++m) {
        copy_run<T, S, T>(from + m * z.wide, out + m * c * taps, lanes, nullptr);
      }
    }
  }
};

template <class S>
void grad_weight_job(const Task& task, const Job& job, const Gather& g, const GradWeightPlan& z) {
  using T = Compute<S>;
  const int64_t height = g.rows.dst_size;
  if (!z.chunk_images) {
    const GradWeightBlock<S> block(task, g, z, job.index);
    char* const scratch = job.scratch;
    T* const sums = (T*)(scratch + grad_weight_scratch_bytes(z, task.shape.dtype)) - z.block_size;
    fill_zero(sums, z.block_size);
    block.add(0, g.n, 0, height, scratch, sums);
    return block.store(sums);
  }
  const int64_t chunks = z.chunks(g.n), wave_begin = job.repeat * z.wave;
  T* const total = (T*)job.shared;
  T* const partial = total + z.blocks * z.block_size;
  if (job.stage == 0) {
    const int64_t chunk = wave_begin + job.index / z.blocks;
    if (chunk >= chunks) return;
    const GradWeightBlock<S> block(task, g, z, job.index % z.blocks);
    T* const sums = partial + job.index * z.block_size;
    fill_zero(sums, z.block_size);
    const int64_t image = chunk / z.chunk_parts * z.chunk_images, part = chunk % z.chunk_parts;
    return block.add(image, smaller(g.n, image + z.chunk_images), part * height / z.chunk_parts,
                     (part + 1) * height / z.chunk_parts, job.scratch, sums);
  }
  T* const sums = total + job.index * z.block_size;
  if (job.repeat == 0) fill_zero(sums, z.block_size);
  for (int64_t i = 0; i < smaller(z.wave, chunks - wave_begin); ++i) {
    copy_run<T, T, T>(partial + (i * z.blocks + job.index) * z.block_size, sums, z.block_size,
                      sums);
  }
  if (wave_begin + z.wave >= chunks) GradWeightBlock<S>(task, g, z, job.index).store(sums);
}

inline void grad_weight(const Task& task, const Job& job) {
  const auto& [g, z] = *(const Planned<GradWeightPlan>*)job.details;
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    grad_weight_job<std::remove_pointer_t<decltype(storage)>>(task, job, g, z);
  });
}

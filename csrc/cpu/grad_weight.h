// Weight gradient: for every tap a matrix product over pixels, grad x shifted input, with both
// operands as [pixel][channel]. Vectors run along the input channels, or along the output channels
// where the layer has few inputs; in the other operand tile rows are broadcast.
//
//     job of stage 0   one block of the result over one chunk of samples (or over all of them)
//     job of stage 1   adds the sums of a wave of chunks to the total, in the order of the samples
//
// A pass of rows is summed in registers, then added to the block. Included inside the namespace of
// each isa_*.cpp.
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

  // sums [tap][tall][wide] += output rows [begin, end) of image n
  void add_rows(int64_t n, int64_t begin, int64_t end, char* scratch, T* sums) const {
    int64_t* const offsets = (int64_t*)scratch;
    T* const band = (T*)(offsets + z.offsets_size);
    T* const grad_band = band + z.input_size;
    const int64_t c = g.groups * g.src_channels, k = g.groups * g.dst_channels;
    const int64_t h = g.rows.src_size, w = g.columns.src_size, q = g.columns.dst_size;
    const S* const input = (const S*)task.input + n * c * h * w;
    const S* const grad = (const S*)task.grad + n * k * g.rows.dst_size * q;
    const int64_t first_input = group * g.src_channels + input_begin();
    const int64_t first_grad = group * g.dst_channels + grad_begin();
    const int64_t row_pitch = z.input_pitch * (z.input_in_place ? w : z.band_columns);
    for (int64_t i = 0; i < smaller(z.rows, end - begin); ++i) {
      for (int64_t j = 0; j < q; ++j) {
        offsets[i * q + j] = i * z.row_advance * row_pitch + j * z.column_advance * z.input_pitch;
      }
    }
    for (int64_t p = begin; p < end; p += z.rows) {
      const int64_t rows = smaller(z.rows, end - p);
      const int64_t source_row = p * g.rows.src_step + g.rows.src_low;
      const T* pixels = band;
      if (z.input_in_place) {
        pixels = (const T*)input + (source_row * w + g.columns.src_low) * c + first_input;
      } else {
        const int64_t band_rows = (rows - 1) * z.row_advance + g.rows.src_high - g.rows.src_low + 1;
        load_band<S>({input, g.layout, c, h, w},
                     {source_row, band_rows, z.row_skip, g.columns.src_low, z.band_columns,
                      z.column_skip, first_input, input_count()},
                     band, z.input_pitch);
      }
      const T* grads = grad_band;
      if (z.grad_in_place) {
        grads = (const T*)grad + p * q * k + first_grad;
      } else {
        load_band<S>({grad, g.layout, k, g.rows.dst_size, q},
                     {p, rows, 1, 0, q, 1, first_grad, grad_count()}, grad_band, z.grad_pitch);
      }
      add_pass(pixels, row_pitch, grads, offsets, rows * q, sums);
    }
  }

  void add_pass(const T* pixels, int64_t row_pitch, const T* grads, const int64_t* offsets,
                int64_t depth, T* sums) const {
    const AxisPhase rows = g.rows.phase(0), columns = g.columns.phase(0);
    Tile<T> tile;
    tile.depth = depth;
    tile.step = z.grad_pitch;
    tile.offset = offsets;
    tile.c_row = z.wide;
    tile.sum = Sum::kAdd;
    tile.a_row = 1;
    // Neighbouring taps of a row are neighbouring channels where pixels touch: more rows per tile.
    const bool one_input = g.src_channels == 1 && z.outputs_in_lanes;
    const bool merged = z.outputs_in_lanes && z.tall_blocks == 1 &&
                        (one_input || (columns.src_delta == 1 && z.input_pitch == row_count));
    const int64_t tap_pitch = columns.src_delta * z.input_pitch;
    if (one_input) tile.a_row = tap_pitch;
    const int64_t tile_rows = merged ? columns.taps * row_count : row_count;
    const int64_t vectors = ceil_div(lane_count, z.lanes), panels = ceil_div(vectors, kMaxBlocks);
    for (int64_t i = 0; i < rows.taps; ++i) {
      for (int64_t j = 0; j < (merged ? 1 : columns.taps); ++j) {
        const T* const tap = pixels + i * rows.src_delta * row_pitch + j * tap_pitch;
        T* const block = sums + (i * columns.taps + j) * z.tall * z.wide;
        for (int64_t panel = 0; panel < panels; ++panel) {
          const int64_t vector = panel * vectors / panels, next = (panel + 1) * vectors / panels;
          const int64_t lane = vector * z.lanes,
                        tiles = ceil_div(tile_rows, tile_rows_of(next - vector));
          for (int64_t t = 0; t < tiles; ++t) {
            const int64_t m = t * tile_rows / tiles, count = (t + 1) * tile_rows / tiles - m;
            tile.c = block + m * z.wide + lane;
            if (z.outputs_in_lanes) {
              tile.a = tap + m * tile.a_row;
              tile.b = grads + lane;
              run_tile<T, Steps::kTableA>(tile, count, next - vector);
            } else {
              tile.a = grads + m;
              tile.b = tap + lane;
              run_tile<T, Steps::kTableB>(tile, count, next - vector);
            }
          }
        }
      }
    }
  }

  // Writes the block's part of the result, [k][c][r][s] or [k][r][s][c].
  void store(const T* sums) const {
    const int64_t taps = g.taps(), c = g.src_channels, plane = z.tall * z.wide;
    const int64_t first = group * g.dst_channels + grad_begin();
    S* const result = (S*)task.result + first * c * taps;
    if (g.layout == Layout::kContiguous) {
      S* const out = result + input_begin() * taps;
      for (int64_t m = 0; m < row_count; ++m) {
        const int64_t row = z.outputs_in_lanes ? m * taps : m * c * taps;
        const int64_t lane = z.outputs_in_lanes ? c * taps : taps;
        transpose_copy<T, S, T>(sums + m * z.wide, plane, taps, lane_count, out + row, lane,
                                nullptr);
      }
      return;
    }
    for (int64_t tap = 0; tap < taps; ++tap) {
      const T* const from = sums + tap * plane;
      S* const out = result + tap * c + input_begin();
      if (z.outputs_in_lanes) {
        transpose_copy<T, S, T>(from, z.wide, row_count, lane_count, out, c * taps, nullptr);
        continue;
      }
      for (int64_t m = 0; m < row_count; ++m) {
        copy_run<T, S, T>(from + m * z.wide, out + m * c * taps, lane_count, nullptr);
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
    for (int64_t n = 0; n < g.n; ++n) block.add_rows(n, 0, height, scratch, sums);
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
    for (int64_t n = image; n < smaller(g.n, image + z.chunk_images); ++n) {
      block.add_rows(n, part * height / z.chunk_parts, (part + 1) * height / z.chunk_parts,
                     job.scratch, sums);
    }
    return;
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
  const Gather g = ((const GradWeightDetails*)job.details)->gather;
  const GradWeightPlan z = ((const GradWeightDetails*)job.details)->plan;
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    grad_weight_job<std::remove_pointer_t<decltype(storage)>>(task, job, g, z);
  });
}

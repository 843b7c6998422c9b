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
struct GradWeightSums {
  using T = Compute<S>;
  using Pass = GradWeightPass<S>;
  const Task& task;
  const Gather& g;
  const GradWeightPlan& z;
  const GradWeightBlock block;

  GradWeightSums(const Task& task, const Gather& g, const GradWeightPlan& z, int64_t index)
      : task(task), g(g), z(z), block(g, z, index) {}

  // sums [tap][tall][wide] += output rows [begin, end) of the images [n_begin, n_end)
  void add(int64_t n_begin, int64_t n_end, int64_t begin, int64_t end, char* scratch,
           T* sums) const {
    for (int64_t n = n_begin; n < n_end; n += z.images) {
      for (int64_t p = begin; p < end; p += z.rows) {
        Pass pass(task, g, z, block, n, smaller(z.images, n_end - n), p, smaller(z.rows, end - p),
                  scratch);
        pass.load();
        for (int64_t first = 0, count; first < pass.pixels; first += count) {
          const int64_t rest = pass.pixels - first;
          count = ceil_div(rest, ceil_div(rest, z.sum_pixels));
          add_pixels(pass, first, count, sums);
        }
      }
    }
  }

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
                        (one_input || (columns.src_delta == 1 && z.tall_pitch == block.row_count));
    const int64_t tap_row = (z.sections > 1 ? z.section_rows : rows.src_delta) * pass.row_pitch,
                  tap_column = columns.src_delta * pass.column_pitch;
    if (one_input) tile.a_row = tap_column;
    const int64_t tile_rows = merged ? columns.taps * block.row_count : block.row_count;
    for (int64_t i = 0; i < rows.taps; ++i) {
      for (int64_t j = 0; j < (merged ? 1 : columns.taps); ++j) {
        const int64_t tap = i * tap_row + j * tap_column;
        if (pass.skip_padding && !merged) {
          tile.depth = pass.inner_pixels(first, count, i, j);
          if (tile.depth == 0) continue;
          tile.offset = tile.depth < count ? pass.inner_tall : pass.tall_offset + first;
          tile.b_offset = tile.depth < count ? pass.inner_slab : pass.slab_offset + first;
        }
        T* const tap_sums = sums + (i * columns.taps + j) * z.tall * z.wide;
        for (int64_t lane = 0; lane < block.lane_count; lane += Pass::kSlab) {
          tile.a = pass.tall + (z.outputs_in_lanes ? tap : 0);
          tile.b =
              pass.slabs + lane / Pass::kSlab * pass.slab_pitch + (z.outputs_in_lanes ? 0 : tap);
          tile.c = tap_sums + lane;
          run_rows<T, Steps::kTables>(tile, tile_rows,
                                      smaller(Pass::kSlab, block.lane_count - lane));
        }
      }
    }
  }

  // Writes the block's part of the result, [k][c][r][s] or [k][r][s][c].
  void store(const T* sums) const {
    const int64_t c = g.src_channels / z.merged, k = g.dst_channels / z.merged;
    S* const result = (S*)task.result + block.group * g.dst_channels * c * g.taps();
    if (z.merged == 1) {
      return store_part(
          sums, block.row_count, block.lane_count,
          result + (z.outputs_in_lanes ? block.lane_begin : block.row_begin) * c * g.taps(),
          z.outputs_in_lanes ? block.row_begin : block.lane_begin);
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
    const GradWeightSums<S> block(task, g, z, job.index);
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
    const GradWeightSums<S> block(task, g, z, job.index % z.blocks);
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
  if (wave_begin + z.wave >= chunks) GradWeightSums<S>(task, g, z, job.index).store(sums);
}

inline void grad_weight(const Task& task, const Job& job) {
  const auto& [g, z] = *(const Planned<GradWeightPlan>*)job.details;
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    grad_weight_job<std::remove_pointer_t<decltype(storage)>>(task, job, g, z);
  });
}

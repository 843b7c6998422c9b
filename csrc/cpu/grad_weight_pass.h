// The load stage of grad_weight: the operands of a pass as the tiles read them, and where its pixels
// find them. Included inside the namespace of each isa_*.cpp.
#pragma once

// A block of the result: some channels in the lanes, some as tile rows, all taps.
struct GradWeightBlock {
  int64_t group, lane_begin, lane_count, row_begin, row_count;

  GradWeightBlock(const Gather& g, const GradWeightPlan& z, int64_t block) {
    const int64_t wide = block % z.wide_blocks, tall = block / z.wide_blocks % z.tall_blocks;
    group = block / z.wide_blocks / z.tall_blocks;
    lane_begin = wide * z.wide;
    lane_count =
        smaller(z.wide, (z.outputs_in_lanes ? g.dst_channels : g.src_channels) - lane_begin);
    row_begin = tall * z.tall;
    row_count = smaller(z.tall, (z.outputs_in_lanes ? g.src_channels : g.dst_channels) - row_begin);
  }
};

template <class S>
struct GradWeightPass {
  using T = Compute<S>;
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
  T *slab_band, *tall_band;
  const T *slabs, *tall;            // the operand in the lanes and the broadcast one
  int64_t slab_pitch;               // elements from slab to slab
  int64_t tall_pitch;               // from channel to channel
  int64_t row_pitch, column_pitch;  // of the input's band

  GradWeightPass(const Task& task, const Gather& g, const GradWeightPlan& z,
                 const GradWeightBlock& block, int64_t image, int64_t images, int64_t row,
                 int64_t rows, char* scratch)
      : block(block),
        task(task),
        g(g),
        z(z),
        image(image),
        images(images),
        row(row),
        rows(rows),
        pixels(images * rows * g.columns.dst_size) {
    tall_offset = (int64_t*)scratch, slab_offset = tall_offset + z.offsets_size;
    pixel_row = slab_offset + z.offsets_size, pixel_column = pixel_row + z.offsets_size;
    inner_tall = pixel_column + z.offsets_size, inner_slab = inner_tall + z.offsets_size;
    slab_band = (T*)(inner_slab + z.offsets_size), tall_band = slab_band + z.slabs_size;
    slabs = slab_band, tall = tall_band;
    slab_pitch = (z.outputs_in_lanes ? pixels : images * z.band_rows * z.band_columns) * kSlab;
    if (z.lanes_in_place()) slab_pitch = kSlab;
    tall_pitch = !z.planes ? 1 : z.grad_in_place ? g.rows.dst_size * g.columns.dst_size : pixels;
    column_pitch = z.outputs_in_lanes ? z.tall_pitch : kSlab;
    row_pitch = z.band_columns * column_pitch;
  }

  void load() {
    const int64_t lanes = block.lane_count, count = block.row_count;
    const int64_t lane = block.lane_begin, first = block.row_begin;
    if (z.lanes_in_place()) {
      slabs = z.outputs_in_lanes ? grad_pixels(lane) : input_pixels(lane);
    } else {
      for (int64_t l = 0; l < lanes; l += kSlab) {
        T* const out = slab_band + l / kSlab * slab_pitch;
        if (z.outputs_in_lanes) {
          load_grad(lane + l, smaller(kSlab, lanes - l), out, kSlab);
        } else {
          load_input(lane + l, smaller(kSlab, lanes - l), out, kSlab);
        }
      }
    }
    if (z.planes) {
      load_grad_planes();
    } else if (z.rows_in_place()) {
      tall = z.outputs_in_lanes ? input_pixels(first) : grad_pixels(first);
    } else if (z.outputs_in_lanes) {
      load_input(first, count, tall_band, z.tall_pitch);
    } else {
      load_grad(first, count, tall_band, z.tall_pitch);
    }
    fill_offsets();
    skip_padding = z.skip_padding && grad_is_finite();
  }

  // In place, in channels_last: the pass's first pixel.
  const T* input_pixels(int64_t channel) const {
    const int64_t pixel = (image * g.rows.src_size + row * g.rows.src_step) * g.columns.src_size;
    return (const T*)task.input + (pixel * g.groups + block.group) * g.src_channels + channel;
  }
  const T* grad_pixels(int64_t channel) const {
    const int64_t pixel = (image * g.rows.dst_size + row) * g.columns.dst_size;
    return (const T*)task.grad + (pixel * g.groups + block.group) * g.dst_channels + channel;
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
    const int64_t q = g.columns.dst_size;
    int64_t input_image = z.band_rows * row_pitch, input_row = z.row_advance * row_pitch,
            input_pixel = z.column_advance * column_pitch;
    if (z.input_in_place) {
      const int64_t channels = g.groups * g.src_channels, width = g.columns.src_size * channels;
      input_image = g.rows.src_size * width, input_row = g.rows.src_step * width;
      input_pixel = g.columns.src_step * channels;
    }
    const int64_t grad_channels = g.groups * g.dst_channels;
    const int64_t grad_pixel = z.planes             ? 1
                               : z.grad_in_place    ? grad_channels
                               : z.outputs_in_lanes ? kSlab
                                                    : z.tall_pitch;
    const int64_t grad_image =
        z.grad_in_place ? grad_channels * g.rows.dst_size * q : rows * q * grad_pixel;
    int64_t* const input = z.outputs_in_lanes ? tall_offset : slab_offset;
    int64_t* const grad = z.outputs_in_lanes ? slab_offset : tall_offset;
    for (int64_t n = 0, i = 0; n < images; ++n) {
      for (int64_t y = 0; y < rows; ++y) {
        for (int64_t x = 0; x < q; ++x, ++i) {
          input[i] = n * input_image + y * input_row + x * input_pixel;
          pixel_row[i] = row + y, pixel_column[i] = x;
          grad[i] = n * grad_image + (y * q + x) * grad_pixel;
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
    if (z.grad_in_place) {
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

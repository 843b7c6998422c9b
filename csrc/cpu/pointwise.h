// 1x1 kernels in the contiguous layout, forward and input gradient: for every image a matrix product
// weight x pixels, with pixels in the vector lanes. Nothing is transposed.
//
//     stage 0   pack the weight as [group][piece][strip][source channel][48 destination
//               channels], or
//               nothing: the forward operator broadcasts it where it lies
//     stage 1   job = images x rows x piece; for each chunk of source channels: slab after slab of
//               pixels, copied so that it stays in the L1 cache while the weights stream by
//
// A slab takes pixels of several rows or images where they are short. Where it does not, it is
// summed in the result itself. Included inside the namespace of each isa_*.cpp.
#pragma once

template <class S>
struct PointwiseJob {
  using T = Compute<S>;
  static constexpr int64_t kSlab = kSlabBlocks<T> * kBlock<T>;  // pixels

  const Task& task;
  const Gather& g;
  const PointwisePlan& z;
  AxisPhase row_phase, column_phase;  // the one that has a tap
  int64_t piece, channel_begin, channel_end, group, image_begin, images;
  int64_t row_begin, rows, column_begin, columns, pixels;  // positions
  int64_t src_plane, dst_plane, src_image, dst_image;
  const S* source;  // of the first image and channel
  S* result;

  PointwiseJob(const Task& task, const Gather& g, const PointwisePlan& z, int64_t index)
      : task(task), g(g), z(z), row_phase(g.rows.phase(0)), column_phase(g.columns.phase(0)) {
    piece = index % z.pieces;
    index /= z.pieces;
    channel_begin = z.piece_begin(piece);
    channel_end = smaller(z.piece_begin(piece + 1), g.dst_channels);
    const int64_t part = index % z.row_jobs * z.rows;
    index /= z.row_jobs;
    group = index % g.groups, image_begin = index / g.groups * z.images;
    images = smaller(z.images, g.n - image_begin);
    row_begin = 0, rows = 1, column_begin = 0, columns = column_phase.size;
    if (!z.flat) {
      row_begin = part, rows = smaller(z.rows, row_phase.size - part);
    } else {
      column_begin = part * kMaxPanel * z.lanes;
      columns = smaller(z.rows * kMaxPanel * z.lanes, columns - column_begin);
    }
    pixels = images * rows * columns;
    src_plane = g.rows.src_size * g.columns.src_size,
    dst_plane = g.rows.dst_size * g.columns.dst_size;
    src_image = g.groups * g.src_channels * src_plane;
    dst_image = g.groups * g.dst_channels * dst_plane;
    source = (const S*)gather_source(task) + image_begin * src_image +
             group * g.src_channels * src_plane;
    result = (S*)task.result + image_begin * dst_image + group * g.dst_channels * dst_plane;
  }

  // Neighbouring pixels of a slab that lie in one row, from pixel `first` of the job on.
  struct Run {
    int64_t count, src, dst;  // elements from the first image's first channel
  };

  Run run_of(int64_t first, int64_t most) const {
    const int64_t column = first % columns, row = first / columns % rows,
                  n = first / columns / rows;
    const int64_t y = row_begin + row, x = column_begin + column;
    return {smaller(most, columns - column),
            n * src_image + y * g.rows.src_step * g.columns.src_size + x * g.columns.src_step,
            n * dst_image + (row_phase.dst_first + y * g.rows.dst_step) * g.columns.dst_size +
                column_phase.dst_first + x * g.columns.dst_step};
  }

  // [source channel][kSlab]
  void load(int64_t first, int64_t count, int64_t channel, int64_t channels, T* slab) const {
    using V = Simd<T>;
    const int64_t step = g.columns.src_step;
    for (int64_t j = 0; j < count;) {
      const Run run = run_of(first + j, count - j);
      const S* from = source + channel * src_plane + run.src;
      T* out = slab + j;
      if (run.count == kSlab && step == 1) {
        for (int64_t c = 0; c < channels; ++c, from += src_plane, out += kSlab) {
          // Planes are far apart: no hardware prefetcher sees the next slab coming.
          __builtin_prefetch(from + kSlab);
#pragma GCC unroll 16
          for (int64_t i = 0; i < kSlab; i += V::kLanes) V::store(out + i, V::load(from + i));
        }
      } else {
        for (int64_t c = 0; c < channels; ++c, from += src_plane, out += kSlab) {
          __builtin_prefetch(from + step * run.count);
          load_run(from, out, run.count, step);
        }
      }
      j += run.count;
    }
  }

  // sums: [destination channel][kSlab]
  void store(const T* sums, int64_t first, int64_t count, int64_t channel, int64_t channels) const {
    for (int64_t j = 0; j < count;) {
      const Run run = run_of(first + j, count - j);
      S* out = result + channel * dst_plane + run.dst;
      for (int64_t k = 0; k < channels; ++k, out += dst_plane) {
        store_run(sums + k * kSlab + j, out, run.count, g.columns.dst_step);
      }
      j += run.count;
    }
  }

  // With a stride, most elements of the input gradient see no tap.
  void clear_rest(int64_t channel, int64_t channels) const {
    if (g.phases() == 1) return;
    const int64_t begin = row_begin * g.rows.dst_step;
    const int64_t end =
        row_begin + rows == row_phase.size ? g.rows.dst_size : (row_begin + rows) * g.rows.dst_step;
    const int64_t first = begin * g.columns.dst_size, count = end * g.columns.dst_size - first;
    for (int64_t n = 0; n < images; ++n) {
      for (int64_t k = 0; k < channels; ++k) {
        fill_zero(result + n * dst_image + (channel + k) * dst_plane + first, count);
      }
    }
  }

  void run(const T* packed, char* scratch) const {
    int64_t* const offsets = (int64_t*)scratch;
    T* const slab = (T*)(offsets + z.chunk);
    T* const sums = slab + z.slab_size;
    const bool forward = task.op == Op::kForward;
    // Weight of source channel i and destination channel m: at offsets[i] + m * row.
    const int64_t step = z.packed ? kStripChannels : task.weight_stride[forward ? 1 : 0];
    const int64_t row = z.packed ? 1 : task.weight_stride[0];
    for (int64_t i = 0; i < z.chunk; ++i) offsets[i] = i * step;

    const int64_t channels = channel_end - channel_begin;
    clear_rest(channel_begin, channels);
    T bias[kStripChannels];
    for (int64_t chunk = 0; chunk < z.chunks; ++chunk) {
      const int64_t c_begin = chunk * z.chunk, c_count = smaller(z.chunk, g.src_channels - c_begin);
      const bool last = chunk == z.chunks - 1;
      for (int64_t first = 0; first < pixels; first += kSlab) {
        const int64_t count = smaller(kSlab, pixels - first);
        load(first, count, c_begin, c_count, slab);
        const Run run = run_of(first, count);
        const bool direct = std::is_same_v<S, T> && run.count == kSlab && g.columns.dst_step == 1;
        T* const slab_sums = z.chunks > 1 ? sums + first * channels : sums;
        const T* strip =
            packed + (group * z.pieces + piece) * z.strips * kStripChannels * g.src_channels;
        for (int64_t k = channel_begin; k < channel_end; k += kStripChannels) {
          const int64_t k_count = smaller(kStripChannels, channel_end - k);
          Tile<T> tile;
          tile.depth = c_count;
          tile.a = z.packed ? strip + c_begin * kStripChannels
                            : (const T*)task.weight + (group * g.dst_channels + k) * row +
                                  c_begin * step;
          tile.a_row = row;
          tile.offset = offsets;
          tile.b = slab;
          tile.step = kSlab;
          tile.c = direct ? (T*)result + k * dst_plane + run.dst
                          : slab_sums + (k - channel_begin) * kSlab;
          tile.c_row = direct ? dst_plane : kSlab;
          tile.sum = chunk ? Sum::kContinue : Sum::kStart;
          if (task.bias && last) {
            copy_run<S, T, T>((const S*)task.bias + group * g.dst_channels + k, bias, k_count,
                              nullptr);
            tile.row_bias = bias;
          }
          run_rows<T, Steps::kTableA>(tile, k_count, count);
          strip += kStripChannels * g.src_channels;
        }
        if (last && !direct) store(slab_sums, first, count, channel_begin, channels);
      }
    }
  }
};

// One strip: [source channel][48 destination channels]; surplus channels are never read.
template <class S>
void pack_strip(const Task& task, const Gather& g, const PointwisePlan& z, int64_t index,
                Compute<S>* packed) {
  using T = Compute<S>;
  const bool forward = task.op == Op::kForward;
  const int64_t piece = index / z.strips % z.pieces, group = index / z.strips / z.pieces;
  const int64_t first = z.piece_begin(piece) + index % z.strips * kStripChannels;
  const int64_t* const stride = task.weight_stride;
  const int64_t dst_stride = forward ? stride[0] : stride[1],
                src_stride = forward ? stride[1] : stride[0];
  const S* const weight =
      (const S*)task.weight + group * task.shape.k_per_group() * stride[0] + first * dst_stride;
  const int64_t valid =
      smaller(kStripChannels, smaller(z.piece_begin(piece + 1), g.dst_channels) - first);
  if (valid <= 0) return;
  T* const out = packed + index * g.src_channels * kStripChannels;
  if (src_stride == 1 && dst_stride > 1) {
    return transpose_copy<S, T, T>(weight, dst_stride, valid, g.src_channels, out, kStripChannels,
                                   nullptr);
  }
  for (int64_t c = 0; c < g.src_channels; ++c) {
    const S* const from = weight + c * src_stride;
    T* const to = out + c * kStripChannels;
    if (dst_stride == 1) {
      copy_run<S, T, T>(from, to, valid, nullptr);
      continue;
    }
    for (int64_t l = 0; l < valid; ++l) to[l] = to_compute(from[l * dst_stride]);
  }
}

inline void pointwise(const Task& task, const Job& job) {
  const auto& [g, z] = *(const Planned<PointwisePlan>*)job.details;
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    auto* const packed = (Compute<S>*)job.shared;
    if (job.stage == 0) return pack_strip<S>(task, g, z, job.index, packed);
    PointwiseJob<S>(task, g, z, job.index).run(packed, job.scratch);
  });
}

// One job of pointwise, and the packing of its weights: see algorithm.cpp.
#pragma once

#include "cpu/common/activate.h"
#include "cpu/common/beyond_caches.h"
#include "cpu/common/copy.h"
#include "cpu/common/pack_weights.h"
#include "cpu/common/run_rows.h"
#include "cpu/pointwise/plan.h"

namespace torchconv::cpu {
namespace {

// Of packed weights, [source channel][destination channel].
template <class A>
constexpr Steps kPackedSteps = kMatrixTiles<A> ? Steps::kTransposed : Steps::kTableA;

// A: the operands, numbers of the compute type or pairs.
template <class S, class A>
struct PointwiseJob {
  using T = Compute<S>;
  using Read = Reading<LoadedAs<S, A>>;
  static constexpr int64_t kSlab = kSlabBlocks<A> * kLaneBlock<A>;  // pixels

  const Task& task;
  const Gather& gather;
  const PointwisePlan& plan;
  AxisPhase row_phase, column_phase;  // the one that has a tap
  int64_t piece, channel_begin, channel_end, group, image_begin, images;
  int64_t row_begin, rows, column_begin, columns, pixels;  // positions
  bool past_caches;                                        // goes the result
  int64_t src_plane, dst_plane, src_image, dst_image;      // stored elements
  const S* source;                                         // of the first image and channel
  S* result;

  PointwiseJob(const Task& task, const Gather& gather, const PointwisePlan& plan, int64_t index)
      : task(task),
        gather(gather),
        plan(plan),
        row_phase(gather.rows.phase(0)),
        column_phase(gather.columns.phase(0)) {
    piece = index % plan.pieces;
    index /= plan.pieces;
    channel_begin = plan.piece_begin(piece);
    channel_end = smaller(plan.piece_begin(piece + 1), gather.dst_channels);
    const int64_t unit = plan.units.begin(index % plan.units.count);
    index /= plan.units.count;
    group = index % gather.groups, image_begin = index / gather.groups * plan.images;
    images = smaller(plan.images, gather.n - image_begin);
    row_begin = 0, rows = 1, column_begin = 0, columns = column_phase.size;
    if (!plan.flat) {
      row_begin = unit, rows = smaller(plan.units.size, row_phase.size - unit);
    } else {
      column_begin = unit * kPanelBlocks * plan.lanes;
      columns = smaller(plan.units.size * kPanelBlocks * plan.lanes, columns - column_begin);
    }
    pixels = images * rows * columns;
    src_plane = gather.rows.src_size * gather.columns.src_size,
    dst_plane = gather.rows.dst_size * gather.columns.dst_size;
    const int64_t src_channels = gather.src_channels * Read::kChannels;
    src_image = gather.groups * src_channels * src_plane;
    dst_image = gather.groups * gather.dst_channels * dst_plane;
    source =
        (const S*)gather_source(task) + image_begin * src_image + group * src_channels * src_plane;
    past_caches = plan.c_chunk.count == 1 && dst_plane % kLaneBlock<T> == 0 &&
                  goes_past_caches((const S*)task.result, gather.n * dst_image);
    result = (S*)task.result + image_begin * dst_image + group * gather.dst_channels * dst_plane;
  }

  // Pixels that are a step apart, in the source or the result: of one row or, where rows follow each other, of several.
  struct Span {
    int64_t count, at;  // elements from the first image's first channel
  };

  // From pixel `first` of the job on. `row`: elements from one to the next.
  Span span_from(int64_t first, int64_t most, int64_t image, int64_t row, int64_t step) const {
    const int64_t run = row == columns * step ? rows * columns : columns;
    const int64_t y = first / columns % rows, x = first % columns;
    return {smaller(most, run - first % run),
            first / (rows * columns) * image + (row_begin + y) * row + (column_begin + x) * step};
  }

  Span source_span(int64_t first, int64_t most) const {
    const int64_t row = gather.rows.src_step * gather.columns.src_size;
    return span_from(first, most, src_image, row, gather.columns.src_step);
  }

  Span result_span(int64_t first, int64_t most) const {
    const int64_t width = gather.columns.dst_size;
    Span span =
        span_from(first, most, dst_image, gather.rows.dst_step * width, gather.columns.dst_step);
    span.at += row_phase.dst_first * width + column_phase.dst_first;
    return span;
  }

  // [source channel][kSlab]
  void load(int64_t first, int64_t count, int64_t channel, int64_t channels, A* slab) const {
    using V = Simd<A>;
    const int64_t step = gather.columns.src_step, next = Read::kChannels * src_plane;
    for (int64_t j = 0; j < count;) {
      const Span span = source_span(first + j, count - j);
      auto from = Read::row(source + channel * next + span.at, src_plane);
      A* out = slab + j;
      if (span.count == kSlab && step == 1) {
        for (int64_t c = 0; c < channels; ++c, from = from + next, out += kSlab) {
          // Planes are far apart: no hardware prefetcher sees the next slab coming.
          prefetch_row(from + kSlab);
#pragma GCC unroll 16
          for (int64_t i = 0; i < kSlab; i += V::kLanes) V::store(out + i, V::load(from + i));
        }
      } else {
        for (int64_t c = 0; c < channels; ++c, from = from + next, out += kSlab) {
          prefetch_row(from + step * span.count);
          load_strided(from, out, span.count, step);
        }
      }
      j += span.count;
    }
  }

  // sums: [destination channel][kSlab]
  void store(const T* sums, int64_t first, int64_t count, int64_t channel, int64_t channels) const {
    for (int64_t j = 0; j < count;) {
      const Span span = result_span(first + j, count - j);
      S* out = result + channel * dst_plane + span.at;
      for (int64_t k = 0; k < channels; ++k, out += dst_plane) {
        store_strided(sums + k * kSlab + j, out, span.count, gather.columns.dst_step);
      }
      activate_span(span, channel, channels);
      j += span.count;
    }
  }

  // Of a forward pass, whose pixels are neighbours.
  void activate_span(const Span& span, int64_t channel, int64_t channels) const {
    if (!task.activates()) return;
    activate(task, result + channel * dst_plane + span.at, channels, dst_plane, span.count);
  }

  // With a stride, most elements of the input gradient see no tap.
  void clear_rest(int64_t channel, int64_t channels) const {
    if (gather.phases() == 1) return;
    const int64_t begin = row_begin * gather.rows.dst_step;
    const int64_t end = row_begin + rows == row_phase.size
                            ? gather.rows.dst_size
                            : (row_begin + rows) * gather.rows.dst_step;
    const int64_t first = begin * gather.columns.dst_size,
                  count = end * gather.columns.dst_size - first;
    for (int64_t n = 0; n < images; ++n) {
      for (int64_t k = 0; k < channels; ++k) {
        fill_zero(result + n * dst_image + (channel + k) * dst_plane + first, count);
      }
    }
  }

  void run(const A* packed, char* scratch) const {
    int64_t* const offsets = (int64_t*)scratch;
    A* const slab = (A*)(offsets + plan.c_chunk.size);
    T* const sums = (T*)(slab + plan.scratch.slab);
    const bool forward = task.op == Op::kForward;
    // Weight of source channel i and destination channel m: at offsets[i] + m * row.
    const int64_t step = plan.packed ? kPanelChannels : task.weight_stride[forward ? 1 : 0];
    const int64_t row = plan.packed ? 1 : task.weight_stride[0];
    for (int64_t i = 0; i < plan.c_chunk.size; ++i) offsets[i] = i * step;

    const int64_t channels = channel_end - channel_begin;
    clear_rest(channel_begin, channels);
    T bias[kPanelChannels];
    for (int64_t chunk = 0; chunk < plan.c_chunk.count; ++chunk) {
      const int64_t c_begin = plan.c_chunk.begin(chunk);
      const int64_t c_count = plan.c_chunk.length(chunk, gather.src_channels);
      const bool last = chunk == plan.c_chunk.count - 1;
      for (int64_t first = 0; first < pixels; first += kSlab) {
        const int64_t count = smaller(kSlab, pixels - first);
        load(first, count, c_begin, c_count, slab);
        const Span span = result_span(first, count);
        const bool whole = span.count == kSlab && gather.columns.dst_step == 1;
        const bool direct = whole && std::is_same_v<S, T>;
        const bool rounded =
            whole && last && std::is_same_v<A, Pair>;  // tiles round what they store
        T* const slab_sums = plan.c_chunk.count > 1 ? sums + first * channels : sums;
        const A* panel = packed + (group * plan.pieces + piece) * plan.panels * kPanelChannels *
                                      gather.src_channels;
        for (int64_t k = channel_begin; k < channel_end; k += kPanelChannels) {
          const int64_t k_count = smaller(kPanelChannels, channel_end - k);
          Tile<A> tile;
          tile.partials = {gather, {gather.order.c_block}, c_count, 1};
          tile.a = plan.packed ? panel + c_begin * kPanelChannels
                               : (const A*)task.weight + (group * gather.dst_channels + k) * row +
                                     c_begin * step;
          tile.a_row = row;
          tile.offset = offsets;
          tile.b = slab;
          tile.step = kSlab;
          tile.c = direct ? (T*)result + k * dst_plane + span.at
                          : slab_sums + (k - channel_begin) * kSlab;
          tile.c_row = direct ? dst_plane : kSlab;
          if constexpr (std::is_same_v<A, Pair>) {
            if (rounded) tile.rounded = result + k * dst_plane + span.at;
            tile.rounded_row = dst_plane;
          }
          tile.sum = chunk ? Sum::kAdd : Sum::kStart;
          tile.clamp = direct && last ? clamp_of(task) : Clamp::kNone;
          if (past_caches && direct && span.at % kLaneBlock<T> == 0 && tile.partials.count == 1 &&
              (tile.clamp != Clamp::kNone || !task.activates())) {
            tile.sum = Sum::kStream;
          }
          if (task.bias && last) {
            copy_span((const S*)task.bias + group * gather.dst_channels + k, bias, k_count);
            tile.row_bias = bias;
          }
          tile.a_step = step;
          if (step == 1)
            run_rows<A, Steps::kMatrix>(tile, k_count, count);
          else if (row == 1)
            run_rows<A, kPackedSteps<A>>(tile, k_count, count);
          else
            run_rows<A, Steps::kTableA>(tile, k_count, count);
          if (last && (direct || rounded) && tile.clamp == Clamp::kNone)
            activate_span(span, k, k_count);
          panel += kPanelChannels * gather.src_channels;
        }
        if (last && !direct && !rounded) store(slab_sums, first, count, channel_begin, channels);
      }
    }
  }
};

// One panel: [source channel][48 destination channels].
template <class S, class A>
void pack_pointwise_panel(const Task& task, const Gather& gather, const PointwisePlan& plan,
                          int64_t index, A* packed) {
  const int64_t piece = index / plan.panels % plan.pieces;
  const int64_t group = index / plan.panels / plan.pieces;
  const int64_t first = plan.piece_begin(piece) + index % plan.panels * kPanelChannels;
  const int64_t end = smaller(plan.piece_begin(piece + 1), gather.dst_channels);
  if (first >= end) return;
  pack_chunk<S>(task, gather, group, first, smaller(kPanelChannels, end - first), kPanelChannels, 0,
                gather.src_channels, packed + index * gather.src_channels * kPanelChannels);
}

template <class S, class A>
void pointwise_of(const Task& task, const Job& job) {
  const auto& [gather, plan] = *(const Planned<PointwisePlan>*)job.details;
  A* const packed = (A*)job.shared;
  if (job.stage == 0) return pack_pointwise_panel<S>(task, gather, plan, job.index, packed);
  PointwiseJob<S, A>(task, gather, plan, job.index).run(packed, job.scratch);
}

inline void pointwise(const Task& task, const Job& job) {
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    pointwise_of<S, Compute<S>>(task, job);
  });
}

}  // namespace
}  // namespace torchconv::cpu

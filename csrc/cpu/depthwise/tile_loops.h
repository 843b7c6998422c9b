// The loops of depthwise over tiles of several destination rows: any kernel, stride and dilation. Tiles
// of neighbouring rows share their source rows.
#pragma once

#include "cpu/depthwise/column_strip.h"
#include "cpu/depthwise/reach.h"
#include "cpu/depthwise/store.h"
#include "cpu/depthwise/tile.h"

namespace torchconv::cpu {
namespace {

template <class S, class X>
struct DepthwiseTileLoops {
  using T = Compute<S>;
  using Finish = typename Destination<X>::Finish;
  const DepthwiseRows<S, X>& job;
  const Gather& gather;
  const DepthwisePlan& plan;
  const DepthwiseView<X>& view;
  const Destination<X> destination;
  const T* const bias;  // that tiles add, or null

  explicit DepthwiseTileLoops(const DepthwiseRows<S, X>& rows)
      : job(rows),
        gather(rows.gather),
        plan(rows.plan),
        view(rows.view),
        destination(rows.destination()),
        bias(destination.stores_bias() ? nullptr : rows.bias) {}

  // Tiles slide down the source where destination rows share its rows and offsets of taps are linear.
  bool slides() const {
    return gather.rows.src_step == 1 && (plan.channels_in_lanes || gather.columns.src_step == 1);
  }

  void run() {
    if (!slides()) fill_offsets();
    for (int64_t pr = 0; pr < gather.rows.phases; ++pr) {
      const AxisPhase rows = gather.rows.phase(pr);
      const int64_t count = smaller(plan.rows.size, rows.size - job.row_begin);
      if (slides()) {
        slide_down_rows(rows, count);
      } else {
        stand_on_rows(rows, count);
      }
    }
    job.store_rest();
  }

  void fill_offsets() const {
    for (int64_t pc = 0; pc < gather.columns.phases; ++pc) {
      const AxisPhase columns = gather.columns.phase(pc);
      for (int64_t j = 0; j < columns.taps; ++j) {
        const int64_t at = columns.src_first + j * columns.src_delta - view.column;
        job.offsets[pc * gather.columns.kernel + j] =
            plan.channels_in_lanes ? at * view.column_pitch : plan.patch.column(at, 1);
      }
    }
  }

  // Destination rows that are a tap apart share source rows: they make a tile.
  void slide_down_rows(const AxisPhase& rows, int64_t count) {
    const int64_t apart = rows.taps > 1 ? larger(rows.src_delta, -rows.src_delta) : 1;
    const int64_t most = plan.strips && rows.taps ? plan.rows.size : kTileRowsOf<T>;
    for (int64_t first = 0; first < smaller(apart, count); ++first) {
      const int64_t in_class = ceil_div(count - first, apart);
      for (int64_t i = 0, n; i < in_class; i += n) {
        n = tile_length(i, {0, in_class}, most);
        tile_rows(rows, first + i * apart, apart, n);
      }
    }
  }

  void stand_on_rows(const AxisPhase& rows, int64_t count) {
    Range inner = {0, count};
    if (job.in_place) {
      inner = inner_positions(gather.rows, rows);
      inner = {inner.begin - job.row_begin, smaller(count, inner.end - job.row_begin)};
    }
    for (int64_t i = 0, n; i < count; i += n) {
      n = tile_length(i, inner, kTileRowsOf<T>);
      tile_rows(rows, i, 1, n);
    }
  }

  // Destination positions row, row + apart, ... of the phase.
  void tile_rows(const AxisPhase& rows, int64_t row, int64_t apart, int64_t count) {
    DepthwiseTile<T> tile;
    const int64_t delta = rows.taps > 1 ? rows.src_delta : 1;
    const bool backwards = slides() && delta < 0;
    const int64_t first = job.row_begin + row, last = first + (count - 1) * apart;
    // Source row of tile row 0, tap row 0.
    const int64_t source = (backwards ? last : first) * gather.rows.src_step + rows.src_first;
    tile.x_tap = delta * view.row_pitch;
    tile.x_row = gather.rows.src_step / view.row_skip * view.row_pitch;
    tile.planes = gather.src_channels, tile.x_plane = plan.patch.plane_pitch;
    tile.taps = rows.taps;
    clip_rows(tile, rows, source, delta, first, last, count);
    tile.repeated = job.offsets;
    if (job.repeats()) repeat_rows(source, delta, tile.end);
    const X* const x = view.origin + (source - view.row) / view.row_skip * view.row_pitch;
    const int64_t dst_row = rows.dst_first + first * gather.rows.dst_step;
    const int64_t dst_apart = apart * gather.rows.dst_step,
                  row_step = destination.row_step(dst_apart);
    tile.out_row = backwards ? -row_step : row_step;
    tile.w_row = rows.kernel_step * plan.weights.row, tile.w_plane = plan.weights.plane;
    const int64_t batch = plan.channels_in_lanes && job.in_place ? plan.tile_blocks : job.blocks;
    for (int64_t b = 0; b < job.blocks; b += batch) {
      for (int64_t pc = 0; pc < gather.columns.phases; ++pc) {
        const AxisPhase columns = gather.columns.phase(pc);
        const T* const w = job.weights + rows.kernel_first * plan.weights.row +
                           columns.kernel_first * plan.weights.step;
        tile.w_step = columns.kernel_step * plan.weights.step;
        tile.offset = job.offsets + pc * gather.columns.kernel;
        tile.x_column = columns.src_delta * view.column_pitch;
        const int64_t at = slides() ? (columns.src_first - view.column) * view.column_pitch : 0;
        tile.out_step = destination.column_pitch;
        T* const out = destination.row(dst_row) + pc * destination.phase_pitch +
                       (backwards ? (count - 1) * row_step : 0);
        if (plan.strips && rows.taps) {
          strips(tile, columns, x + at, w, out, count);
        } else {
          tile_columns(tile, columns, x + at, w, out, count, {b, smaller(job.blocks, b + batch)});
        }
      }
    }
    if (destination.finish != Finish::kRows) return;
    for (int64_t m = 0; m < count; ++m) job.store_row(m, dst_row + m * dst_apart);
  }

  // Leaves out the source or tap rows that are padding for all rows of the tile.
  void clip_rows(DepthwiseTile<T>& tile, const AxisPhase& rows, int64_t source, int64_t delta,
                 int64_t first, int64_t last, int64_t count) const {
    tile.begin = 0, tile.end = slides() && rows.taps ? count + rows.taps - 1 : rows.taps;
    if (!job.skip_padding) return;
    if (!slides()) return inner_taps(gather.rows, rows, first, last, tile.begin, tile.end);
    const auto outside = [&](int64_t y) {
      return source + y * delta < 0 || source + y * delta >= gather.rows.src_size;
    };
    while (tile.begin < tile.end && outside(tile.begin)) ++tile.begin;
    while (tile.begin < tile.end && outside(tile.end - 1)) --tile.end;
  }

  // Where one phase of each plane finds its operands.
  struct Planes {
    const DepthwiseRows<S, X>& rows;
    const T *x, *w, *bias;
    T* out;
    int64_t count;
    bool gathered;  // the taps of a phase lie apart
    T phase[kStripRows * kStripPitch];

    const T* source(int64_t plane) const {
      const Gather& gather = rows.gather;
      const int64_t channel =
          (rows.block + plane) / gather.dst_channels - rows.block / gather.dst_channels;
      return x + channel * gather.src_height() * gather.src_width();
    }
    void operator()(DepthwiseTile<T>& tile, int64_t plane) {
      const Gather& gather = rows.gather;
      tile.x = source(plane);
      tile.out = out + plane * gather.rows.dst_size * gather.columns.dst_size;
      tile.w = w + plane * rows.plan.weight_block();
      tile.bias = bias ? bias + plane : nullptr;
      if (!gathered) return;
      for (int64_t i = 0; i < tile.taps; ++i) {
        for (int64_t j = 0; j < tile.tap_end; ++j) {
          phase[i * kStripPitch + j] = tile.w[i * tile.w_row + j * tile.w_step];
        }
      }
      tile.w = phase;
    }
  };

  void strips(DepthwiseTile<T>& tile, const AxisPhase& columns, const T* x, const T* w, T* out,
              int64_t count) const {
    tile.tap_begin = 0, tile.tap_end = columns.taps;
    tile.count = columns.size;
    tile.x_plane = gather.src_height() * gather.src_width();
    tile.out_plane = gather.rows.dst_size * gather.columns.dst_size;
    tile.fetches = job.in_place && job.exceeds(cost::kStripFetchBytes) && gather.phases() == 1;
    tile.past_caches = destination.finish == Finish::kNothing && job.stores_lines() &&
                       gather.columns.dst_size % kLaneBlock<T> == 0;
    const bool gathered = tile.w_row != kStripPitch || tile.w_step != 1;
    Planes planes = {job, x, w, bias, out, job.blocks, gathered, {}};
    const int64_t column = columns.src_first - view.column, width = gather.src_width();
    if constexpr (kRepeats<T>) {
      if (job.repeats()) {
        if (width <= Simd<T>::kLanes && columns.size <= Simd<T>::kLanes) {
          const StripRow<StripEdges::kOneVector> row = {column, width, gather.margins};
          return run_depthwise_strips<T>(tile, count, row, planes);
        }
        if (gather.margins.mode == PaddingMode::kCircular && width > Simd<T>::kLanes) {
          const StripRow<StripEdges::kOtherEnd> row = {column, width, gather.margins};
          return run_depthwise_strips<T>(tile, count, row, planes);
        }
        const StripRow<StripEdges::kNear> row = {column, width, gather.margins};
        return run_depthwise_strips<T>(tile, count, row, planes);
      }
    }
    if (job.in_place) {
      run_depthwise_strips<T>(tile, count, StripRow<StripEdges::kZeros>{column, width, {}}, planes);
    } else {
      run_depthwise_strips<T>(tile, count, StripRow<StripEdges::kNone>{column, width, {}}, planes);
    }
  }

  // From a source row slid over, which is row `source`, to all of them.
  void repeat_rows(int64_t source, int64_t delta, int64_t count) const {
    for (int64_t y = 0; y < count; ++y) {
      const int64_t at = source + y * delta - view.row;
      job.offsets[y] =
          (gather.margins.row(at, gather.src_height()) + view.row - source) * view.row_pitch;
    }
  }

  // Cuts one row of tiles into vectors, for each of these blocks of the job.
  void tile_columns(DepthwiseTile<T>& tile, const AxisPhase& columns, const T* x, const T* w,
                    T* out, int64_t count, Range blocks) const {
    if (plan.channels_in_lanes) {
      tile_channels(tile, columns, x, w, out, count, blocks);
    } else {
      tile_pixels(tile, columns, x, w, out, count, blocks);
    }
  }

  void tile_pixels(DepthwiseTile<T>& tile, const AxisPhase& columns, const T* x, const T* w, T* out,
                   int64_t count, Range blocks) const {
    constexpr int64_t kLanes = Simd<T>::kLanes;
    const int64_t vecs = ceil_div(columns.size, kLanes);
    tile.x_step = tile.out_step = tile.count_step = kLanes;
    // Several planes come here only for a phase without taps, which reads nothing.
    for (int64_t b = blocks.begin; b < blocks.end; ++b) {
      T* const plane = out + b * gather.rows.dst_size * gather.columns.dst_size;
      tile.bias = bias ? bias + b : nullptr;
      for (int64_t v = 0, n; v < vecs; v += n) {
        n = vecs - v >= kDepthwiseVecs<T> ? kDepthwiseVecs<T> : vecs - v >= 2 ? 2 : 1;
        clip_columns(tile, columns, v * kLanes, smaller(columns.size, (v + n) * kLanes) - 1);
        const int64_t j = v * kLanes;
        tile.x = x + j, tile.w = w, tile.out = plane + j, tile.count = columns.size - j;
        run_depthwise_tile<T, true>(tile, slides(), count, n);
      }
    }
  }

  void tile_channels(DepthwiseTile<T>& tile, const AxisPhase& columns, const T* x, const T* w,
                     T* out, int64_t count, Range blocks) const {
    constexpr int64_t kLanes = Simd<T>::kLanes;
    const int64_t pixels = columns.size;
    const Range inner = job.in_place ? inner_positions(gather.columns, columns) : Range{0, pixels};
    // Tiles look at taps from left to right.
    const bool mirrored = slides() && columns.taps > 1 && columns.src_delta < 0;
    const int64_t out_step = tile.out_step;
    tile.count_step = 0;
    for (int64_t j = 0, n; j < pixels; j += n) {
      n = next_tile(j, inner);
      clip_columns(tile, columns, j, j + n - 1);
      const int64_t nearest = mirrored ? j + n - 1 : j;
      tile.x_step = mirrored ? -view.dst_pitch : view.dst_pitch;
      tile.out_step = mirrored ? -out_step : out_step;
      const T* const x_at = x + nearest * view.dst_pitch;
      for (int64_t b = blocks.begin; b < blocks.end; ++b) {
        const int64_t channels = job.channel_count() - b * plan.lanes;
        for (int64_t lane = 0; lane < smaller(plan.lanes, channels); lane += kLanes) {
          const int64_t at = b * plan.lanes + lane;
          tile.x = x_at + at, tile.w = w + b * plan.weight_block() + lane;
          tile.out = out + nearest * out_step + at;
          tile.count = destination.finish == Finish::kNothing ? channels - lane : kLanes;
          tile.bias = bias ? bias + at : nullptr;
          run_depthwise_tile<T, false>(tile, slides(), count, n);
        }
      }
    }
    tile.out_step = out_step;
  }

  // Moves j to where the next tile begins, which may repeat what the one before it did, and returns
  // its length.
  int64_t next_tile(int64_t& j, Range inner) const {
    constexpr int64_t kMost = kDepthwiseVecs<T>;
    const bool few = inner.end - inner.begin < kMost;
    if (j < inner.begin || j >= inner.end || few || j == inner.end - 1) return 1;
    j = smaller(j, inner.end - kMost);
    return kMost;
  }

  // Leaves out the taps that see only padding from the destination columns [first, last].
  void clip_columns(DepthwiseTile<T>& tile, const AxisPhase& columns, int64_t first,
                    int64_t last) const {
    tile.tap_begin = 0, tile.tap_end = columns.taps;
    if (job.skip_padding) {
      inner_taps(gather.columns, columns, first, last, tile.tap_begin, tile.tap_end);
    }
  }
};

}  // namespace
}  // namespace torchconv::cpu

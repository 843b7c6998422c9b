// One job of grad_weight: see algorithm.cpp.
#pragma once

#include "cpu/common/ordered_sum.h"
#include "cpu/grad_weight/even_pixels.h"
#include "cpu/grad_weight/load.h"
#include "cpu/grad_weight/next_pass.h"
#include "cpu/grad_weight/plan.h"

namespace torchconv::cpu {
namespace {

// The sums of a block: [tap][row][lane], or [tap row][row][tap of it][lane] where a tile takes the rows of
// several tap rows.
struct SumPitches {
  int64_t tap_row, tap, row;

  SumPitches(const GradWeightPlan& plan, const Gather& gather) {
    const int64_t wide = plan.lanes.cut.size, taps = gather.columns.kernel;
    tap = plan.channel_rows ? wide : plan.rows.cut.size * wide;
    row = plan.channel_rows ? taps * wide : wide;
    tap_row = taps * plan.rows.cut.size * wide;
  }
};

// A: the operands, numbers of the compute type or pairs.
template <class S, class A>
struct GradWeightSums {
  using T = Compute<S>;
  const Task& task;
  const Gather& layer;
  const GradWeightPlan& plan;
  const Gather gather;          // of the layer or, where it is unfolded, of the one that it is then
  const int64_t first, count;   // blocks, whose sums follow each other
  const GradWeightBlock block;  // the first one
  const GradWeightBlock loaded;

  GradWeightSums(const Task& task, const Gather& layer, const GradWeightPlan& plan, int64_t job)
      : task(task),
        layer(layer),
        plan(plan),
        gather(plan.unfolded ? unfolded(layer) : layer),
        first(plan.together.begin(job)),
        count(plan.together.length(job, plan.blocks)),
        block(plan, first),
        loaded(block.of_groups(count)) {}

  // sums = those of these output rows of the images [n_begin, n_end)
  void sum(int64_t n_begin, int64_t n_end, Range output_rows, char* scratch, T* sums) const {
    Sum to = Sum::kStart;
    PassTables tables;
    if (leaves_out_lanes()) fill_zero(sums, count * plan.block_size);
    for (int64_t n = n_begin; n < n_end; n += plan.pass.images) {
      for (int64_t p = output_rows.begin; p < output_rows.end; p += plan.pass.rows) {
        const GradWeightPart part = {n, smaller(plan.pass.images, n_end - n), p,
                                     smaller(plan.pass.rows, output_rows.end - p)};
        if (!add_pass<A>(part, scratch, tables, sums, to))
          add_pass<T>(part, scratch, tables, sums, to);
        to = Sum::kAdd;
      }
    }
    if (to == Sum::kStart) fill_zero(sums, count * plan.block_size);
  }

  // In bfloat16 a partial sum ends with a pair of pixels, on every level. False if pairs would not be exact.
  template <class Element>
  bool add_pass(const GradWeightPart& part, char* scratch, PassTables& tables, T* sums,
                Sum to) const {
    using Pass = GradWeightPass<S, Element>;
    constexpr int64_t kUnit = std::is_same_v<S, BFloat16> ? 2 : 1;
    Pass pass(task, layer, gather, plan, loaded, part, scratch);
    pass.load(tables);
    if (Pass::kPairs && !pass.singles_are_exact()) return false;
    const int64_t q = gather.columns.dst_size, row_units = ceil_div(q, kUnit);
    const auto pixels_before = [&](int64_t unit) {
      return Pass::kPairs ? unit : unit / row_units * q + unit % row_units * kUnit;
    };
    const int64_t units = pass.images * pass.rows * row_units;
    NextPass<S> next(task, layer, plan, loaded, part);
    const int64_t slabs = ceil_div(block.lanes.count, pass.slab) * count;
    next.spread(ceil_div(units * kUnit, plan.pass.sum_pixels) * slabs *
                ceil_div(block.rows.count, NextPass<S>::kRows));
    for (int64_t first = 0, end; first < units; first = end) {
      const int64_t rest = units - first;
      end = first + ceil_div(rest, ceil_div(rest * kUnit, plan.pass.sum_pixels));
      const int64_t pixel = pixels_before(first);
      for (int64_t i = 0; i < count; ++i)
        add_pixels(pass, i, pixel, pixels_before(end) - pixel, sums + i * plan.block_size, to,
                   next);
      to = Sum::kAdd;
    }
    return true;
  }

  static constexpr int64_t kHalf = kLaneBlock<T> / 2;

  // Whether tiles may store half of the lanes.
  template <class Element>
  static constexpr bool kHalves = kStoredLanes<Element> <= kHalf;

  // Whether the block has sums that no tile stores. They are added up with the others.
  bool leaves_out_lanes() const {
    const int64_t rest = block.lanes.count % kLaneBlock<T>;
    return plan.halves || (rest && rest <= kHalf);
  }

  // To the block `at` of those that are loaded.
  template <class Element>
  void add_pixels(const GradWeightPass<S, Element>& pass, int64_t at, int64_t first, int64_t count,
                  T* sums, Sum to, NextPass<S>& next) const {
    const int64_t slab = pass.slab;
    const AxisPhase rows = gather.rows.phase(0), columns = gather.columns.phase(0);
    const bool input_rows = plan.rows.is_input;
    Tile<Element> tile;
    tile.partials = {count};
    tile.offset = pass.broadcast.offset + first;
    tile.b_offset = pass.lanes.offset + first;
    tile.sum = to;
    tile.a_row = pass.broadcast.channel_pitch;
    const int64_t tap_row =
        (pass.patch.sections > 1 ? pass.patch.section_rows(plan.pass.rows) : rows.src_delta) *
        pass.input_row();
    const int64_t tap_column = columns.src_delta * pass.input().pixel_pitch;
    // Neighbouring taps of a row are neighbouring channels where pixels touch: more rows per tile. So are
    // channels and tap rows where their rows are copied.
    const bool one_input = input_rows && gather.src_channels == 1;
    const bool pixels_touch = columns.src_delta == 1 && plan.rows.pixel_pitch == block.rows.count;
    const bool joined = input_rows && plan.rows.cut.count == 1 && !plan.channel_rows &&
                        !plan.halves && (one_input || pixels_touch);
    if (one_input) tile.a_row = tap_column;
    const EvenPixels even(tile, count);
    const SumPitches pitch(plan, gather);
    tile.c_row = pitch.row;
    const int64_t before = at * block.lanes.count;  // lanes of other blocks
    const int64_t tile_rows = joined              ? columns.taps * block.rows.count
                              : plan.channel_rows ? rows.taps * block.rows.count
                                                  : block.rows.count;
    for (int64_t i = 0; i < (plan.channel_rows ? 1 : rows.taps); ++i) {
      for (int64_t j = 0; j < (joined ? 1 : columns.taps); ++j) {
        const int64_t tap = i * tap_row + j * tap_column;
        if (pass.skip_padding && !joined) {
          const int64_t inner = pass.inner_pixels(first, count, i, j);
          if (inner == 0) {
            if (to == Sum::kStart) fill_zero_tap(sums + i * pitch.tap_row + j * pitch.tap, pitch);
            continue;
          }
          tile.partials = {inner};
          tile.offset = inner < count ? pass.broadcast.inner : pass.broadcast.offset + first;
          tile.b_offset = inner < count ? pass.lanes.inner : pass.lanes.offset + first;
        }
        T* const tap_sums = sums + i * pitch.tap_row + j * pitch.tap;
        for (int64_t lane = 0; lane < block.lanes.count; lane += slab) {
          tile.a = pass.broadcast.data + at * block.rows.count + (input_rows ? tap : 0);
          tile.b = pass.lanes.data + (before + lane) / slab * pass.lanes.channel_pitch +
                   before % slab + (input_rows ? 0 : tap);
          tile.c = tap_sums + lane;
          const int64_t lanes = smaller(slab, block.lanes.count - lane);
          if constexpr (kHalves<Element>) {
            if (plan.halves) {
              add_halves(tile);
              continue;
            }
          }
          add_tiles(tile, even, tile_rows, lanes, next);
        }
      }
    }
  }

  void fill_zero_tap(T* sums, const SumPitches& pitch) const {
    for (int64_t m = 0; m < block.rows.count; ++m)
      fill_zero(sums + m * pitch.row, block.lanes.count);
  }

  // Of merged groups: each half of the lanes with the rows of its groups.
  template <class Element>
  static void add_halves(const Tile<Element>& tile) {
    constexpr int64_t kLanes = Simd<Element>::kLanes;
    const Tiles halves = {2, kHalf * tile.a_row, kHalf * (tile.c_row + 1), 0, kHalf};
    tile_kernel<Element, Steps::kTables, kHalf, ceil_div(kHalf, kLanes), (kLanes > kHalf)>(
        tile, halves, {});
  }

  template <class Element>
  static void add_tiles(const Tile<Element>& tile, const EvenPixels& even, int64_t rows,
                        int64_t lanes, NextPass<S>& next) {
    if constexpr (kMatrixTiles<Element>) {
      if (even.are_matrix(tile, Steps::kTransposed))
        return add_rows<Steps::kTransposed>(even.matrix(tile), rows, lanes, next);
      if (even.are_matrix(tile, Steps::kMatrix))
        return add_rows<Steps::kMatrix>(even.matrix(tile), rows, lanes, next);
    }
    add_rows<Steps::kTables>(tile, rows, lanes, next);
  }

  template <Steps kSteps, class Element>
  static void add_rows(Tile<Element> tile, int64_t rows, int64_t lanes, NextPass<S>& next) {
    if (!next.any()) return run_rows<Element, kSteps, true>(tile, rows, lanes);
    for (int64_t m = 0; m < rows; m += NextPass<S>::kRows) {
      next.fetch();
      run_rows<Element, kSteps, true>(tile, smaller(NextPass<S>::kRows, rows - m), lanes);
      tile.a += NextPass<S>::kRows * tile.a_row, tile.c += NextPass<S>::kRows * tile.c_row;
    }
  }

  void store(const T* sums) const {
    for (int64_t i = 0; i < count; ++i) store_block(sums + i * plan.block_size, block.group + i);
  }

  // Writes a block's part of the result, [k][c][r][s] or [k][r][s][c].
  void store_block(const T* sums, int64_t group) const {
    const int64_t c = gather.src_channels / plan.merged, k = gather.dst_channels / plan.merged;
    const int64_t taps = gather.taps();
    // From one input or output channel of the result to the next.
    const int64_t input = gather.layout == Layout::kContiguous ? taps : 1, output = c * taps;
    const int64_t lane = plan.lanes.is_input ? input : output;
    const int64_t row = plan.lanes.is_input ? output : input;
    S* const result = (S*)task.result + group * gather.dst_channels * output;
    if (plan.merged == 1) {
      return store_part(sums, block.rows.count, block.lanes.count,
                        result + block.rows.begin * row + block.lanes.begin * lane, row, lane);
    }
    // Merged groups are one block.
    const int64_t rows = plan.lanes.is_input ? k : c, lanes = plan.lanes.is_input ? c : k;
    for (int64_t i = 0; i < plan.merged; ++i) {
      store_part(sums + i * rows * SumPitches(plan, gather).row + i * lanes, rows, lanes,
                 result + i * k * output, row, lane);
    }
  }

  // `row` and `lane`: from one of the sums' rows and lanes to the next in the result.
  void store_part(const T* sums, int64_t rows, int64_t lanes, S* result, int64_t row,
                  int64_t lane) const {
    const int64_t taps = gather.taps();
    const SumPitches pitch(plan, gather);
    // Taps follow each other, in channel_rows those of a row; with one of them both layouts are the same.
    if (gather.layout == Layout::kContiguous && taps > 1) {
      const int64_t rows_of_taps = plan.channel_rows ? gather.rows.kernel : 1;
      const int64_t together = taps / rows_of_taps;
      for (int64_t m = 0; m < rows; ++m) {
        for (int64_t r = 0; r < rows_of_taps; ++r) {
          transpose_copy(sums + m * pitch.row + r * pitch.tap_row, pitch.tap, together, lanes,
                         result + m * row + r * together, lane);
        }
      }
      return;
    }
    const int64_t tap_pitch = gather.src_channels / plan.merged;
    for (int64_t tap = 0; tap < taps; ++tap, sums += pitch.tap, result += tap_pitch) {
      if (lane > 1) {
        transpose_copy(sums, pitch.row, rows, lanes, result, lane);
        continue;
      }
      for (int64_t m = 0; m < rows; ++m) copy_span(sums + m * pitch.row, result + m * row, lanes);
    }
  }
};

template <class S, class A>
void grad_weight_of(const Task& task, const Job& job) {
  using T = Compute<S>;
  const auto& [gather, plan] = *(const Planned<GradWeightPlan>*)job.details;
  const int64_t p = gather.rows.dst_size;
  const GradWeightSums<S, A> blocks(task, gather, plan, job.index % plan.together.count);
  const int64_t size = blocks.count * plan.block_size;
  if (plan.chunks.whole_batch()) {
    T* const sums = (T*)(job.scratch + grad_weight_scratch_bytes(plan, task.shape.dtype)) - size;
    blocks.sum(0, gather.n, {0, p}, job.scratch, sums);
    return blocks.store(sums);
  }
  const WaveSums<T> wave(plan.chunks, gather.n, plan.blocks * plan.block_size, job);
  const int64_t at = blocks.first * plan.block_size;
  if (job.stage == 0) {
    const int64_t in_wave = job.index / plan.together.count;
    if (in_wave >= wave.waiting()) return;
    T* const sums = wave.partial(in_wave) + at;
    const SampleChunk chunk = wave.chunk(in_wave);
    return blocks.sum(chunk.image_begin, chunk.image_end, chunk.share_of(p), job.scratch, sums);
  }
  if (const T* const sums = add_wave(wave, at, size)) blocks.store(sums);
}

inline void grad_weight(const Task& task, const Job& job) {
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    grad_weight_of<S, Compute<S>>(task, job);
  });
}

}  // namespace
}  // namespace torchconv::cpu

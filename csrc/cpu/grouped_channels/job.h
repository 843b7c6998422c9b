// One job of grouped_channels, and the packing of its weights: see algorithm.cpp.
#pragma once

#include "cpu/common/activate.h"
#include "cpu/grouped_channels/group_tile.h"
#include "cpu/grouped_channels/packing.h"

namespace torchconv::cpu {
namespace {

// Some rows of one image, for some vectors. A: the operands, numbers of the compute type or pairs.
template <class S, class A>
struct GroupedJob {
  using T = Compute<S>;
  static constexpr int64_t kChannels = Reading<LoadedAs<S, A>>::kChannels;
  static constexpr int64_t kMostPixels = kGroupRuns * kGroupPixels<A>;

  const Task& task;
  const Gather& gather;
  const GroupedPlan& plan;
  int64_t row_begin, row_end;
  int64_t src_channels, dst_channels;  // of a pixel
  const S* source;                     // of the image, from the first source channel of the job on
  S* result;                           // the same of the destination
  const A* weights;
  bool skip_padding = true;  // where all weights are finite, padding adds nothing
  alignas(64) int32_t lanes[kGroupSources * Simd<A>::kLanes * Simd<A>::kLanes];  // [channel][lane]
  // Where padding repeats some of them: from the first row and column that a tile sees to each.
  int64_t* const repeated_rows;  // in scratch memory
  int64_t repeated_columns[kGroupColumns];
  GroupTile<S, A> tile;

  GroupedJob(const Task& task, const Gather& gather, const GroupedPlan& plan, const Job& job)
      : task(task), gather(gather), plan(plan), repeated_rows((int64_t*)job.scratch) {
    row_begin = plan.rows.begin(job.index % plan.rows.count);
    row_end = row_begin + plan.rows.size;
    const Range vectors = plan.vectors_of(job.index / plan.rows.count % plan.parts);
    const int64_t image = job.index / plan.rows.count / plan.parts;
    const int64_t first_src = vectors.begin * plan.src_lanes * kChannels,
                  first_dst = vectors.begin * plan.dst_lanes;
    src_channels = gather.groups * gather.src_channels * kChannels;
    dst_channels = gather.groups * gather.dst_channels;
    source = (const S*)gather_source(task) + first_src +
             image * gather.src_height() * gather.src_width() * src_channels;
    result = (S*)task.result + first_dst +
             image * gather.rows.dst_size * gather.columns.dst_size * dst_channels;
    const A* const packed = (const A*)job.shared;
    weights = packed + vectors.begin * plan.vector_weights;
    const T* const finite = (const T*)(packed + plan.vectors * plan.vector_weights);
    for (int64_t v = vectors.begin; v < vectors.end; ++v) skip_padding &= finite[v] != 0;

    for (int64_t c = 0; c < gather.src_channels; ++c) {
      for (int64_t l = 0; l < plan.lanes; ++l)
        lanes[c * plan.lanes + l] =
            l < plan.dst_lanes ? (int32_t)(l / gather.dst_channels * gather.src_channels + c) : 0;
    }
    tile.lanes = lanes;
    tile.c_block = gather.order.c_block, tile.blocks = gather.src_channels / tile.c_block;
    tile.x_vector = plan.src_lanes * kChannels;
    tile.src_channels = src_channels - first_src;
    tile.dst_vector = plan.dst_lanes;
    tile.dst_channels = smaller(vectors.end * plan.dst_lanes, dst_channels) - first_dst;
    tile.w_vector = plan.vector_weights;
    tile.bias = task.bias ? (const S*)task.bias + first_dst : nullptr;
  }

  void run() {
    const int64_t tap = tile.c_block * plan.lanes;
    tile.w = weights;
    for (int64_t pr = 0; pr < gather.rows.phases; ++pr) {
      const AxisPhase rows = gather.rows.phase(pr);
      for (int64_t pc = 0; pc < gather.columns.phases; ++pc) {
        const AxisPhase columns = gather.columns.phase(pc);
        tile.w_row = columns.taps * tap, tile.w_block = rows.taps * tile.w_row;
        tile.fetch.rows = plan.fetches && pr + pc == 0 ? gather.rows.src_step : 0;
        for (int64_t i = row_begin; i < smaller(row_end, rows.size); ++i) run_row(rows, columns, i);
        tile.w += tile.blocks * tile.w_block;
      }
    }
    activate_rows();
  }

  // Of a forward pass, whose rows are neighbours.
  void activate_rows() const {
    if (!task.activates()) return;
    const int64_t rows = smaller(row_end, gather.rows.dst_size) - row_begin,
                  width = gather.columns.dst_size;
    activate(task, result + row_begin * width * dst_channels, rows * width, dst_channels,
             tile.dst_channels);
  }

  // Position i of the row axis.
  void run_row(const AxisPhase& rows, const AxisPhase& columns, int64_t i) {
    const int64_t src_row = gather.src_width() * src_channels;
    inner_taps(gather.rows, rows, i, i, tile.begin, tile.end);
    tile.first = skip_padding ? tile.begin : 0, tile.last = skip_padding ? tile.end : rows.taps;
    if (!columns.taps) tile.first = tile.last = 0;
    tile.x_row = rows.src_delta * src_row;
    const int64_t row = i * gather.rows.src_step + rows.src_first - gather.margins.top;
    const bool repeats = gather.margins.any(),
               repeats_rows = repeats && repeat_rows(rows, row, src_row);
    const int64_t below = larger(0, (rows.taps - 1) * rows.src_delta) + 1;
    const int64_t dst_row = rows.dst_first + i * gather.rows.dst_step;
    S* const out = result + dst_row * gather.columns.dst_size * dst_channels;
    tile.fetch.row_pitch = src_row;

    // Pixels that are a tap apart share source columns: they make a run. With taps that go back, so do the
    // pixels.
    const bool many = columns.taps > 1;
    const int64_t step = many ? gather.columns.src_step : 1;
    const int64_t unit = many ? columns.src_delta : gather.columns.src_step;
    const int64_t apart = many ? larger(unit, -unit) : 1;
    tile.x_column = unit * src_channels;
    tile.out_step = (unit < 0 ? -apart : apart) * gather.columns.dst_step * dst_channels;
    for (int64_t first = 0; first < smaller(apart, columns.size); ++first) {
      const int64_t count = ceil_div(columns.size - first, apart);
      const int64_t tiles = ceil_div(count, kMostPixels);
      for (int64_t k = 0; k < tiles; ++k) {
        // Both runs are equally long: of an odd number of pixels both compute the one in the middle.
        const Range part = share(k, tiles, ceil_div(count, kGroupRuns));
        const int64_t begin = part.begin * kGroupRuns, end = smaller(count, part.end * kGroupRuns);
        const int64_t length = part.end - part.begin, second = end - begin - length;
        const int64_t nearest = first + (unit < 0 ? end - 1 : begin) * apart;
        const int64_t column =
            nearest * gather.columns.src_step + columns.src_first - gather.margins.left;
        const int64_t seen = (length - 1) * step + larger(1, columns.taps);
        tile.x_second = second * step * tile.x_column;
        tile.out_second = second * tile.out_step;
        tile.inside[0] = columns_inside(column, unit, seen);
        tile.inside[1] = columns_inside(column + second * step * unit, unit, seen);
        tile.x = source + row * src_row + column * src_channels;
        tile.fetch.next = tile.fetch.rows ? tile.x + below * src_row : nullptr;
        tile.out = out + (columns.dst_first + nearest * gather.columns.dst_step) * dst_channels;
        const bool all_inside = (tile.inside[0] & tile.inside[1]) == (1u << seen) - 1;
        const bool by_tables = repeats_rows || (repeats && !all_inside);
        if (by_tables) repeat_columns(column, unit, second * step, seen);
        const int64_t taps = larger(1, columns.taps);
        group_kernel<S, A>(plan.sources, by_tables, taps, step, length)(tile);
      }
    }
  }

  // From tap row 0, the source row `row`, to each tap row; whether padding repeats some of them.
  bool repeat_rows(const AxisPhase& rows, int64_t row, int64_t src_row) const {
    bool any = false;
    for (int64_t r = 0; r < rows.taps; ++r) {
      const int64_t y = row + r * rows.src_delta;
      const int64_t element = gather.margins.row(y, gather.src_height());
      any = any || element != y;
      repeated_rows[r] = (element - row) * src_row;
    }
    return any;
  }

  // From the source column `first` to those at first, first + unit, ...; each run sees `seen`, the second one from
  // `second` on.
  void repeat_columns(int64_t first, int64_t unit, int64_t second, int64_t seen) {
    tile.x_rows = repeated_rows;
    tile.x_columns[0] = repeated_columns, tile.x_columns[1] = repeated_columns + second;
    for (int64_t j = 0; j < second + seen; ++j) {
      const int64_t element = gather.margins.column(first + j * unit, gather.src_width());
      repeated_columns[j] = (element - first) * src_channels;
    }
  }

  // Which of the source columns first, first + unit, ... there are: bit j for the j-th.
  uint32_t columns_inside(int64_t first, int64_t unit, int64_t count) const {
    uint32_t inside = 0;
    for (int64_t j = 0; j < count; ++j, first += unit) {
      if (first >= 0 && first < gather.src_width()) inside |= 1u << j;
    }
    return inside;
  }
};

template <class S, class A>
void grouped_channels_of(const Task& task, const Job& job) {
  const auto& [gather, plan] = *(const Planned<GroupedPlan>*)job.details;
  if (job.stage == 1) return GroupedJob<S, A>(task, gather, plan, job).run();
  A* const packed = (A*)job.shared;
  Compute<S>* const finite = (Compute<S>*)(packed + plan.vectors * plan.vector_weights);
  const Range vectors = plan.vectors_of(job.index);
  for (int64_t v = vectors.begin; v < vectors.end; ++v) {
    finite[v] = pack_groups<S>(task, gather, plan, v, packed + v * plan.vector_weights);
  }
}

inline void grouped_channels(const Task& task, const Job& job) {
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    if constexpr (!std::is_same_v<S, double>) grouped_channels_of<S, Compute<S>>(task, job);
  });
}

}  // namespace
}  // namespace torchconv::cpu

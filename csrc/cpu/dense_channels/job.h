// One job of dense_channels: see algorithm.cpp.
#pragma once

#include "cpu/common/pack_weights.h"
#include "cpu/dense_channels/packing.h"
#include "cpu/dense_channels/padding.h"
#include "cpu/dense_channels/plan.h"
#include "cpu/dense_channels/row_tiles.h"
#include "cpu/dense_channels/slabs.h"
#include "cpu/dense_channels/store.h"

namespace torchconv::cpu {
namespace {

// A: the operands, numbers of the compute type or pairs.
template <class S, class A>
struct ChannelJob : ChannelSlabs<S, A> {
  using T = Compute<S>;
  using Slabs = ChannelSlabs<S, A>;
  using Slabs::image_begin, Slabs::images, Slabs::row_begin, Slabs::row_count, Slabs::group;
  using Slabs::task, Slabs::gather, Slabs::plan, Slabs::pitch, Slabs::panel_begin;
  using typename Slabs::Slab;
  int64_t dst_channels, dst_image;

  ChannelJob(const Task& task, const Gather& gather, const ChannelPlan& plan, int64_t index)
      : Slabs(task, gather, plan, index) {
    dst_channels = gather.groups * gather.dst_channels;
    dst_image = dst_channels * gather.rows.dst_size * gather.columns.dst_size;
  }

  void run(const A* packed, char* scratch) {
    int64_t* const offsets = (int64_t*)scratch;
    A* const patch = (A*)(offsets + plan.scratch.offsets);
    T* const sums = (T*)(patch + plan.scratch.patch);
    A* const own_weights = (A*)(sums + plan.scratch.sums);
    A* const single = own_weights + plan.scratch.weights;
    const T* const skip_padding = (const T*)(packed + plan.packed_size);
    int64_t table_channels = 0;
    for (int64_t first = 0; first < plan.c_chunk.count; first += plan.chunks_at_once) {
      const int64_t end = smaller(first + plan.chunks_at_once, plan.c_chunk.count);
      const auto patch_of = [&](int64_t chunk) {
        return patch + (chunk - first) * plan.patch_size;
      };
      for (int64_t chunk = first; chunk < end; ++chunk)
        this->template load<S>(patch_of(chunk), single, plan.c_chunk.begin(chunk),
                               this->chunk_channels(chunk));
      this->each_slab([&](Slab& slab, int64_t panel, int64_t block) {
        const int64_t before = (block - plan.panels.begin(panel_begin)) * gather.phases();
        for (int64_t chunk = first; chunk < end; ++chunk) {
          const int64_t c_begin = plan.c_chunk.begin(chunk);
          slab.channels = this->chunk_channels(chunk);
          slab.first = chunk == 0, slab.last = chunk == plan.c_chunk.count - 1;
          slab.fetches = plan.fetches && plan.in_place && before == 0;
          this->set_lanes(slab, block);
          if (table_channels != slab.channels) this->fill_offsets(offsets, slab.channels);
          table_channels = slab.channels;
          slab.ahead = {};
          const A* weights = own_weights;
          if (plan.packing == ChannelPlan::Packing::kInJob) {
            const A* const end = pack_chunk<S>(task, gather, group, block * plan.lanes, slab.valid,
                                               slab.width, c_begin, slab.channels, own_weights);
            slab.skip_padding = plan.padded && all_finite(own_weights, end - own_weights);
          } else {
            weights = this->weights_of(packed, block, slab.blocks, c_begin);
            slab.ahead = this->weights_ahead(packed, slab, panel, block, c_begin);
            slab.skip_padding = skip_padding[group * plan.panels.panels + panel] != 0;
            if (plan.fetches && !plan.in_place && !slab.ahead.data &&
                block == plan.panels.begin(panel))
              slab.ahead = this->source_ahead(panel);
          }
          sum_phases(slab, this->pixels(patch_of(chunk), c_begin), weights, offsets,
                     sums + kept_sums(before));
        }
      });
    }
  }

  // What the sums of so many blocks take in one phase, where they wait for the next chunk.
  int64_t kept_sums(int64_t blocks) const {
    if (plan.c_chunk.count == 1) return 0;
    return blocks * plan.images * plan.rows.size * gather.columns.longest * plan.lanes;
  }

  void sum_phases(Slab& slab, const A* pixels, const A* weights, const int64_t* table, T* sums) {
    for (int64_t pr = 0; pr < gather.rows.phases; ++pr) {
      const AxisPhase rows = gather.rows.phase(pr);
      for (int64_t pc = 0; pc < gather.columns.phases; ++pc) {
        const AxisPhase columns = gather.columns.phase(pc);
        const int64_t taps = rows.taps * columns.taps;
        if (plan.tiles == ChannelPlan::Tiles::kAcrossImages && images >= cost::kTileImages) {
          sum_across_images(slab, rows, columns, pixels, weights, table, sums);
        } else {
          sum_along_rows(slab, rows, columns, pixels, weights, table, sums);
        }
        weights += slab.channels * taps * slab.width;
        table += slab.channels * taps;
        sums += kept_sums(slab.blocks);
      }
    }
  }

  // Which taps a tile needs: rows [r_begin, r_end) and columns [s_begin, s_end) of the phase.
  void choose_taps(Tile<A>& tile, const Slab& slab, const AxisPhase& rows, const AxisPhase& columns,
                   int64_t r_begin, int64_t r_end, int64_t s_begin, int64_t s_end) const {
    if (gather.pairs == InPairs::kTaps) {
      tile.partials = gather.steps();
      return;
    }
    const int64_t r = r_end - r_begin, s = s_end - s_begin, block = gather.order.c_block;
    const int64_t first = (r_begin * columns.taps + s_begin) * block;
    tile.offset += first;
    tile.b += first * slab.width;
    const int64_t gap = (rows.taps - r) * columns.taps * block;
    // Neighbouring taps are one run where the pixels that they read follow each other.
    const bool joined = pitch.pixel * columns.src_delta == block;
    if (pitch.channel == 1 && block % 4 == 0) tile.run = joined ? s * block : block;
    if (tile.run < cost::kLeastRun) tile.run = 0;
    tile.partials = {gather,
                     {s * block, r, (columns.taps - s) * block, 1, gap},
                     slab.channels,
                     rows.taps * columns.taps};
  }

  Tile<A> make_tile(const Slab& slab, const A* weights, const int64_t* table) const {
    Tile<A> tile;
    tile.b = weights;
    tile.step = slab.width;
    tile.offset = table;
    tile.lane_bias = task.bias && slab.last ? slab.bias : nullptr;
    tile.sum = slab.first ? Sum::kStart : Sum::kAdd;
    tile.clamp = slab.clamp;
    return tile;
  }

  // Where the sums of a tile are kept, and in the end stored: `result` and what waits for RowStore.
  static void aim(Tile<A>& tile, const Slab& slab, S* result, int64_t result_row, T* sums,
                  int64_t sums_row) {
    tile.c = slab.direct ? (T*)result : sums, tile.c_row = slab.direct ? result_row : sums_row;
    if (slab.streams && tile.partials.count == 1) tile.sum = Sum::kStream;
    if constexpr (std::is_same_v<A, Pair>) {
      if (slab.rounded) tile.rounded = result, tile.rounded_row = result_row;
    }
  }

  RowStore<S> store(const Slab& slab, int64_t image) const {
    const int64_t height = gather.rows.dst_size, width = gather.columns.dst_size;
    const int64_t plane = gather.layout == Layout::kChannelsLast ? 1 : height * width;
    S* const result =
        (S*)task.result + (image_begin + image) * dst_image + slab.first_channel * plane;
    return {result, dst_channels, height, width, slab.valid, gather.layout, task};
  }

  void sum_along_rows(Slab& slab, const AxisPhase& rows, const AxisPhase& columns, const A* pixels,
                      const A* weights, const int64_t* table, T* sums) {
    const int64_t count = smaller(row_count, rows.size - row_begin);
    // Of several rows even a single column is a tile, if it is stored in the result.
    const RowParts all_parts(gather.columns, columns, slab.skip_padding);
    const RowParts long_parts = all_parts.joined();
    const int64_t dst_pixel = gather.columns.dst_step * dst_channels;  // only of channels_last
    const int64_t dst_rows = gather.rows.dst_step * gather.columns.dst_size * dst_channels;
    const int64_t below_tile = (gather.rows.src_high - gather.rows.src_low + 1) * pitch.row;
    const bool waits = plan.c_chunk.count > 1;
    const int64_t kept = waits || plan.stored_rows > 1 ? gather.columns.longest * slab.width : 0;
    const bool in_result = slab.direct || slab.rounded;
    // Sums that are in the result, or that wait for another chunk, are kept for all rows.
    const bool all_rows = in_result || waits;
    for (int64_t n = 0; n < images; ++n) {
      const RowStore<S> store = this->store(slab, n);
      for (int64_t i = 0, end; i < count; i = end) {
        // Rows that see the same taps are one run of tiles, as far as they are stored together.
        const int64_t last = all_rows ? count : smaller(count, i + plan.stored_rows);
        const TapSpan span(gather.rows, rows, row_begin + i, row_begin + last);
        const int64_t r_begin = slab.skip_padding ? span.tap_begin : 0,
                      r_end = slab.skip_padding ? span.tap_end : rows.taps;
        end = slab.skip_padding ? span.end - row_begin : last;
        if (slab.last && gather.phases() == 1)
          store.fetch((row_begin + i) * columns.size, (end - i) * columns.size);
        const Below below = {end - i, plan.patch.row_advance * pitch.row,
                             slab.direct ? dst_rows : kept, dst_rows};
        const int64_t dst_row = rows.dst_first + (row_begin + i) * gather.rows.dst_step;
        const bool several = below.count >= cost::kShortestRowPart;
        const RowParts& parts = several ? all_parts : long_parts;
        for (int64_t part = 0; part < parts.count; ++part) {
          const int64_t j = parts.begin[part];
          Tile<A> tile = make_tile(slab, weights, table);
          choose_taps(tile, slab, rows, columns, r_begin, r_end, parts.s_begin[part],
                      parts.s_end[part]);
          tile.a_row = plan.patch.column_advance * pitch.pixel;
          tile.a =
              pixels + n * pitch.image + i * plan.patch.row_advance * pitch.row + j * tile.a_row;
          aim(tile, slab, store.pixel(dst_row, columns.dst_first) + j * dst_pixel, dst_pixel,
              sums + j * slab.width, slab.width);
          const int64_t columns = parts.begin[part + 1] - j;
          if (slab.fetches) slab.ahead = {tile.a + below_tile, ceil_div(below.a, columns)};
          if (this->is_matrix())
            run_part<A, Steps::kMatrix>(tile, columns, below, slab.valid, slab.ahead);
          else
            run_part<A, Steps::kTableA>(tile, columns, below, slab.valid, slab.ahead);
          slab.ahead = slab.ahead.after(columns * below.count);
        }
        if (in_result && slab.last) {
          const int64_t width = gather.columns.dst_size;
          if (slab.clamp == Clamp::kNone) store.activate_pixels(dst_row * width, (end - i) * width);
        } else if (slab.last && gather.phases() == 1) {  // one run of pixels
          store.run(sums, slab.width, dst_row * columns.size, (end - i) * columns.size, 1);
        } else if (slab.last) {
          for (int64_t row = 0; row < end - i; ++row)
            store(sums + row * kept, slab.width, dst_row + row * gather.rows.dst_step, columns,
                  gather.columns.dst_step);
        }
        if (waits) sums += (end - i) * kept;
      }
    }
  }

  // For small maps: no row is too short for a tile, and each pixel leaves out its own padding.
  void sum_across_images(Slab& slab, const AxisPhase& rows, const AxisPhase& columns,
                         const A* pixels, const A* weights, const int64_t* table, T* sums) {
    const int64_t count = smaller(row_count, rows.size - row_begin);
    const int64_t row_sums = columns.size * slab.width, image_sums = plan.rows.size * row_sums;
    const RowStore<S> first = store(slab, 0);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t dst_row = rows.dst_first + (row_begin + i) * gather.rows.dst_step;
      int64_t r_begin = 0, r_end = rows.taps;
      if (slab.skip_padding)
        inner_taps(gather.rows, rows, row_begin + i, row_begin + i, r_begin, r_end);
      for (int64_t j = 0; j < columns.size; ++j) {
        int64_t s_begin = 0, s_end = columns.taps;
        if (slab.skip_padding) inner_taps(gather.columns, columns, j, j, s_begin, s_end);
        Tile<A> tile = make_tile(slab, weights, table);
        choose_taps(tile, slab, rows, columns, r_begin, r_end, s_begin, s_end);
        tile.a = pixels + i * plan.patch.row_advance * pitch.row +
                 j * plan.patch.column_advance * pitch.pixel;
        tile.a_row = pitch.image;
        aim(tile, slab, first.pixel(dst_row, columns.dst_first + j * gather.columns.dst_step),
            dst_image, sums + i * row_sums + j * slab.width, image_sums);
        if (this->is_matrix())
          run_rows<A, Steps::kMatrix, true>(tile, images, slab.valid, slab.ahead);
        else
          run_rows<A, Steps::kTableA, true>(tile, images, slab.valid, slab.ahead);
        slab.ahead = slab.ahead.after(images);
      }
    }
    if (!slab.last) return;
    for (int64_t n = 0; n < images; ++n) {
      const RowStore<S> store = this->store(slab, n);
      if (slab.direct || slab.rounded) {
        if (slab.clamp != Clamp::kNone) continue;
        store.activate_pixels(row_begin * gather.columns.dst_size, count * gather.columns.dst_size);
        continue;
      }
      const T* const from = sums + n * image_sums;
      if (gather.phases() == 1) {  // the rows of a job are one run of pixels
        store.run(from, slab.width, row_begin * gather.columns.dst_size,
                  count * gather.columns.dst_size, 1);
        continue;
      }
      for (int64_t i = 0; i < count; ++i) {
        store(from + i * row_sums, slab.width,
              rows.dst_first + (row_begin + i) * gather.rows.dst_step, columns,
              gather.columns.dst_step);
      }
    }
  }
};

template <class S, class A>
void dense_channels_of(const Task& task, const Job& job) {
  const auto& [gather, plan] = *(const Planned<ChannelPlan>*)job.details;
  A* const packed = (A*)job.shared;
  if (job.stage == 0 && plan.packing == ChannelPlan::Packing::kOnce)
    return pack_slabs<S>(task, gather, plan, job.index, packed);
  ChannelJob<S, A>(task, gather, plan, job.index).run(packed, job.scratch);
}

inline void dense_channels(const Task& task, const Job& job) {
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    dense_channels_of<S, Compute<S>>(task, job);
  });
}

}  // namespace
}  // namespace torchconv::cpu

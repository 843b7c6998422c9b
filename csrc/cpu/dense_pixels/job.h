// One job of dense_pixels: see algorithm.cpp.
#pragma once

#include "cpu/common/beyond_caches.h"
#include "cpu/dense_pixels/block_tiles.h"
#include "cpu/dense_pixels/load.h"
#include "cpu/dense_pixels/packing.h"
#include "cpu/dense_pixels/plan.h"
#include "cpu/dense_pixels/store.h"

namespace torchconv::cpu {
namespace {

// A: the operands, numbers of the compute type or pairs.
template <class S, class A>
struct PixelJob {
  using T = Compute<S>;
  using Walk = PixelPlan::Walk;
  using SumsIn = PixelPlan::SumsIn;
  const Task& task;
  const Gather& gather;
  const PixelPlan& plan;
  int64_t image_begin, images, group_begin, groups;
  int64_t row_begin, rows, column_begin, columns;  // positions
  Range panels;
  bool in_place;
  bool past_caches;                    // goes what is summed in the result
  int64_t channel_pitch, image_pitch;  // of the planes in memory

  PixelJob(const Task& task, const Gather& gather, const PixelPlan& plan, int64_t index)
      : task(task), gather(gather), plan(plan) {
    const auto next = [&](int64_t count) {
      const int64_t at = index % count;
      index /= count;
      return at;
    };
    panels = plan.panels.of_piece(next(plan.panels.pieces));
    column_begin = plan.columns.begin(next(plan.columns.count));
    columns = smaller(plan.columns.size, gather.columns.longest - column_begin);
    row_begin = plan.rows.begin(next(plan.rows.count));
    rows = smaller(plan.rows.size, gather.rows.longest - row_begin);
    group_begin = plan.groups.begin(next(plan.groups.count));
    groups = smaller(plan.groups.size, gather.groups - group_begin);
    image_begin = index * plan.images;
    images = smaller(plan.images, gather.n - image_begin);

    const int64_t channels = gather.groups * gather.src_channels,
                  plane = gather.rows.src_size * gather.columns.src_size;
    // The last vector of a span ends beyond its positions, the last plane of the tensor ends the
    // memory.
    const int64_t last_channel =
        (image_begin + images - 1) * channels + (group_begin + groups) * gather.src_channels;
    const int64_t end = (last_channel - 1) * plane +
                        (row_begin + gather.rows.src_high) * plan.planes.pitch + column_begin +
                        gather.columns.src_high + length_read();
    in_place = plan.in_place && end <= gather.n * channels * plane;
    channel_pitch = in_place ? plane : plan.planes.channel_pitch();
    image_pitch = in_place ? channels * plane : plan.planes.image_pitch;
    const int64_t dst_plane = gather.rows.dst_size * gather.columns.dst_size;
    past_caches = in_result() && plan.walk != Walk::kTapSpans && plan.c_chunk.count == 1 &&
                  !task.activates() && dst_plane % kLaneBlock<T> == 0 &&
                  goes_past_caches((const S*)task.result,
                                   gather.n * gather.groups * gather.dst_channels * dst_plane);
  }

  bool in_result() const { return plan.sums.in == SumsIn::kResult; }

  // Positions of one walk.
  int64_t length() const {
    return (plan.walk == Walk::kMerged ? images - 1 : 0) * plan.planes.image_pitch +
           (rows - 1) * plan.planes.pitch + columns;
  }

  // Positions that are read, whole blocks of them.
  int64_t length_read() const {
    if (plan.walk != Walk::kRows) return round_up(length(), kLaneBlock<T>);
    return (rows - 1) * plan.planes.pitch + round_up(columns, kLaneBlock<T>);
  }

  // Where the taps of a phase read, relative to the position of the walk: block, r, s, c.
  void fill_offsets(const AxisPhase& rows, const AxisPhase& columns, int64_t channels,
                    int64_t* offset) const {
    for (int64_t block = 0; block < channels; block += gather.order.c_block) {
      for (int64_t i = 0; i < rows.taps; ++i) {
        const int64_t down = rows.src_first + i * rows.src_delta - gather.rows.src_low;
        for (int64_t j = 0; j < columns.taps; ++j) {
          const int64_t right = columns.src_first + j * columns.src_delta - gather.columns.src_low;
          const int64_t plane =
              i % plan.planes.of_rows * plan.planes.of_columns + j % plan.planes.of_columns;
          const int64_t at = block * channel_pitch + plane * plan.planes.plane_pitch +
                             down / gather.rows.src_step * plan.planes.pitch +
                             right / gather.columns.src_step;
          for (int64_t c = 0; c < gather.order.c_block; ++c) *offset++ = at + c * channel_pitch;
        }
      }
    }
  }

  // A span that is the destination: whole blocks are summed in the result. The last part of a block
  // would be written beyond its end, so it goes through `sums`.
  void multiply_direct(const Tile<A>& tile, int64_t channels, int64_t length, T* sums) const {
    const int64_t rest = length % kLaneBlock<T>;
    Tile<A> whole = tile;
    if (past_caches && tile.partials.count == 1 && begins_line(tile.c)) whole.sum = Sum::kStream;
    run_blocks(whole, channels, length / kLaneBlock<T>, gather.taps() == 1);
    if (!rest) return;
    Tile<A> part = tile;
    T* const end = tile.c + length - rest;
    part.b += length - rest;
    part.c = sums;
    part.c_row = kLaneBlock<T>;
    for (int64_t m = 0; m < channels && tile.sum == Sum::kAdd; ++m) {
      copy_span(end + m * tile.c_row, sums + m * kLaneBlock<T>, rest);
    }
    run_blocks(part, channels, 1);
    for (int64_t m = 0; m < channels; ++m) {
      copy_span(sums + m * kLaneBlock<T>, end + m * tile.c_row, rest);
    }
  }

  [[gnu::noinline]] void multiply_rows(Tile<A> tile, int64_t channels, T* sums) const {
    for (int64_t i = 0; i < rows; ++i) {
      multiply_direct(tile, channels, columns, sums);
      tile.b += plan.planes.pitch, tile.c += gather.columns.dst_size;
    }
  }

  // The walk over one image in spans of rows that need the same taps. The last block of a span may end
  // in the next one, which is summed after it.
  void multiply_tap_spans(const Tile<A>& tile, int64_t channels, const AxisPhase& rows,
                          const AxisPhase& columns, T* sums) const {
    for (int64_t first = 0; first < rows.size;) {
      const TapSpan span(gather.rows, rows, first, rows.size);
      const int64_t length = (span.end - first - 1) * plan.planes.pitch + this->columns;
      const int64_t taps = span.tap_end - span.tap_begin,
                    row_steps = columns.taps * gather.order.c_block;
      Tile<A> part = tile;
      part.a += span.tap_begin * row_steps * tile.step;
      part.offset += span.tap_begin * row_steps;
      part.b += first * plan.planes.pitch;
      part.c += first * plan.planes.pitch;
      part.partials = {gather,
                       {taps * row_steps, 1, 0, 1, (rows.taps - taps) * row_steps},
                       gather.src_channels,
                       rows.taps * columns.taps};
      if (in_result() &&
          first * plan.planes.pitch + round_up(length, kLaneBlock<T>) > this->length()) {
        multiply_direct(part, channels, length, sums);
      } else {
        run_blocks(part, channels, ceil_div(length, kLaneBlock<T>));
      }
      first = span.end;
    }
  }

  // One walk for each image, or for all.
  void multiply(Tile<A> tile, int64_t channels, int64_t channel, bool skip_padding,
                const AxisPhase& rows, const AxisPhase& columns, T* sums) const {
    int64_t next = plan.sums.image_pitch;
    if (in_result()) {
      const int64_t plane = gather.rows.dst_size * gather.columns.dst_size;
      tile.c_row = plane;
      tile.c = (T*)task.result +
               (image_begin * gather.groups * gather.dst_channels + channel) * plane +
               row_begin * gather.columns.dst_size + column_begin;
      next = gather.groups * gather.dst_channels * plane;
    }
    for (int64_t n = 0; n < (plan.walk == Walk::kMerged ? 1 : images); ++n) {
      if (skip_padding) {
        multiply_tap_spans(tile, channels, rows, columns, sums);
      } else if (plan.walk == Walk::kRows) {
        multiply_rows(tile, channels, sums);
      } else if (in_result()) {
        multiply_direct(tile, channels, length(), sums);
      } else {
        run_blocks(tile, channels, ceil_div(length(), kLaneBlock<T>), gather.taps() == 1);
      }
      tile.b += image_pitch;
      tile.c += next;
    }
  }

  void run(const A* packed, char* scratch) const {
    int64_t* const offsets = (int64_t*)scratch;
    A* const own_planes = (A*)(offsets + plan.scratch.offsets);
    T* const sums = (T*)(own_planes + plan.scratch.planes);
    const T* const finite = (const T*)(packed + plan.packed.size);
    const int64_t depth_all = gather.src_channels * gather.taps();
    const int64_t piece_begin = plan.panels.begin(panels.begin);
    const int64_t piece_channels = plan.panels.begin(panels.end) - piece_begin;
    const int64_t first_channel = group_begin * gather.dst_channels + piece_begin;
    const int64_t job_channels = (groups - 1) * gather.dst_channels + piece_channels;
    for (int64_t chunk = 0; chunk < plan.c_chunk.count; ++chunk) {
      const int64_t c_begin = plan.c_chunk.begin(chunk);
      const int64_t c_count = plan.c_chunk.length(chunk, gather.src_channels);
      const bool last = chunk == plan.c_chunk.count - 1;
      const A* planes = own_planes;
      if (in_place) {
        planes = (const A*)gather_source(task) + image_begin * image_pitch +
                 (group_begin * gather.src_channels + c_begin) * channel_pitch +
                 (row_begin + gather.rows.src_low) * plan.planes.pitch + column_begin +
                 gather.columns.src_low;
      } else {
        load_pixels(*this, own_planes, c_begin, (groups - 1) * gather.src_channels + c_count);
      }
      int64_t taps_before = 0;
      T* phase_sums = sums;
      const int64_t phases = plan.sums.phases;
      const int64_t phase_pitch = phases_pitch(job_channels);
      for (int64_t phase = 0; phase < gather.phases(); phase += phases) {
        const AxisPhase rows = gather.rows.phase(phase / gather.columns.phases);
        Phase at_once[kPhasesAtOnce];
        int64_t* offset = offsets;
        for (int64_t i = 0; i < phases; ++i) {
          at_once[i] = {gather.columns.phase(phase % gather.columns.phases + i), taps_before,
                        offset};
          fill_offsets(rows, at_once[i].columns, c_count, offset);
          taps_before += rows.taps * at_once[i].columns.taps;
          offset += rows.taps * at_once[i].columns.taps * c_count;
        }
        for (int64_t group = 0; group < groups; ++group) {
          for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
            const int64_t channel = plan.panels.begin(panel);
            const int64_t width = plan.panels.width(panel);
            const int64_t dst = (group_begin + group) * gather.dst_channels + channel;
            T* const panel_sums =
                phase_sums +
                (plan.sums.in == SumsIn::kJob ? dst - first_channel : 0) * plan.sums.channel_pitch;
            Tile<A> tile;
            T bias[kLaneBlock<T>];  // at least kTileRows
            if (task.bias && last) {
              copy_span((const S*)task.bias + dst, bias, width);
              tile.row_bias = bias;
            }
            tile.step = width;
            tile.b = planes + group * gather.src_channels * channel_pitch;
            tile.c_row = plan.sums.channel_pitch;
            tile.sum = chunk ? Sum::kAdd : Sum::kStart;
            const bool skip_padding =
                plan.walk == Walk::kTapSpans &&
                finite[(group_begin + group) * plan.panels.count + panel] != 0;
            for (int64_t i = 0; i < phases; ++i) {
              const AxisPhase& columns = at_once[i].columns;
              const int64_t taps = rows.taps * columns.taps;
              tile.partials = {gather, {taps * gather.order.c_block}, c_count, taps};
              tile.a = packed + dst * depth_all +
                       (c_begin * gather.taps() + at_once[i].taps_before * c_count) * width;
              tile.offset = at_once[i].offsets;
              tile.c = panel_sums + i * phase_pitch;
              multiply(tile, width, dst, skip_padding, rows, columns, sums);
            }
            if (!last || gather.layout == Layout::kChannelsLast) continue;
            if (!in_result())
              store_pixels(*this, panel_sums, phase_pitch, dst, width, rows, at_once[0].columns);
            activate_channels(*this, dst, width);
          }
        }
        if (last && gather.layout == Layout::kChannelsLast) {
          store_pixels(*this, phase_sums, 0, first_channel, job_channels, rows, at_once[0].columns);
          activate_channels(*this, first_channel, job_channels);
        }
        if (plan.c_chunk.count > 1) phase_sums += phases * phase_pitch;
      }
    }
  }

 private:
  static constexpr int kPhasesAtOnce = 2;
  struct Phase {
    AxisPhase columns;
    int64_t taps_before;  // of other phases, among the packed weights
    const int64_t* offsets;
  };

  // From the sums of one phase to those of the next.
  int64_t phases_pitch(int64_t job_channels) const {
    return (plan.sums.in == SumsIn::kJob ? job_channels : kPixelPanel) * plan.sums.channel_pitch;
  }
};

template <class S, class A>
void dense_pixels_of(const Task& task, const Job& job) {
  const auto& [gather, plan] = *(const Planned<PixelPlan>*)job.details;
  A* const packed = (A*)job.shared;
  if (job.stage == 0) return pack_pixel_panels<S>(task, gather, plan, job.index, packed);
  PixelJob<S, A>(task, gather, plan, job.index).run(packed, job.scratch);
}

inline void dense_pixels(const Task& task, const Job& job) {
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    dense_pixels_of<S, Compute<S>>(task, job);
  });
}

}  // namespace
}  // namespace torchconv::cpu

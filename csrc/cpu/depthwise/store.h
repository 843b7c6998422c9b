// What the loops over tiles share: where a job finds its source, weights and sums, and the store stage
// of sums that need another type or order on their way to the result.
#pragma once

#include "cpu/common/activate.h"
#include "cpu/common/beyond_caches.h"
#include "cpu/depthwise/load.h"
#include "cpu/depthwise/plan.h"

namespace torchconv::cpu {
namespace {

// What tiles read: the patch of one block, or the source itself.
template <class X>
struct DepthwiseView {
  const X* origin;                   // the element at source row `row` and column `column`
  int64_t row, row_skip, row_pitch;  // a view row is row_skip source rows on
  int64_t column, column_pitch;      // elements from a source column to the next
  int64_t dst_pitch;                 // and from what a destination column reads to the next
};

// Where tiles write.
template <class X>
struct Destination {
  // What is left to do when the sums are complete.
  enum class Finish {
    kNothing,  // they lie in the result
    kRows,     // after each tile its rows go to the result
    kImage,    // after all tiles, [pixel][block][lanes] go to planes
    kPlanes,   // after all tiles, planes are converted as they lie
  };

  X* base;  // of destination row `first_row`; with kRows of the first row of a tile
  int64_t first_row;
  int64_t row_pitch, column_pitch, phase_pitch;
  Finish finish;

  // The store stage adds the bias, else the tiles do.
  bool stores_bias() const { return finish == Finish::kRows || finish == Finish::kImage; }
  X* row(int64_t dst_row) const {
    return finish == Finish::kRows ? base : base + (dst_row - first_row) * row_pitch;
  }
  // From a row of a tile, whose rows are `apart`, to the next.
  int64_t row_step(int64_t apart) const {
    return finish == Finish::kRows ? row_pitch : apart * row_pitch;
  }
};

// Destination rows [row_begin, row_begin + plan.rows.size) of every phase of one image, for some
// blocks. X is the type of what tiles read: T in a patch, S in place.
template <class S, class X>
struct DepthwiseRows {
  using T = Compute<S>;
  using Finish = typename Destination<X>::Finish;

  const Task& task;
  const Gather& gather;
  const DepthwisePlan& plan;
  int64_t row_begin;
  int64_t* offsets;
  T *sums, *folded;  // of the pixels that the plan folds
  DepthwiseView<X> view = {};
  const T* bias = nullptr;  // of `block`, or null
  const T* weights = nullptr;
  const T* even_odd = nullptr;    // by pairs of blocks, or null
  int64_t block = 0, blocks = 1;  // one, but in place
  bool skip_padding = false;      // where all weights are finite, padding adds nothing
  bool in_place = false;          // there is no padding to read: tiles must not reach it
  S* result = nullptr;            // of this image
  S* staged = nullptr;            // of these blocks, in its place, or null

  DepthwiseRows(const Task& task, const Gather& gather, const DepthwisePlan& plan,
                int64_t row_begin, int64_t* offsets, T* sums, T* folded)
      : task(task),
        gather(gather),
        plan(plan),
        row_begin(row_begin),
        offsets(offsets),
        sums(sums),
        folded(folded) {}

  // Padding is what it repeats in the source.
  bool repeats() const { return in_place && gather.margins.any(); }
  // Neighbours of a plane of the result that have other planes between them.
  bool spaced() const {
    return !plan.channels_in_lanes && gather.layout == Layout::kChannelsLast && dst_channels() > 1;
  }
  Finish finish() const {
    using Unpadded = DepthwisePlan::Unpadded;
    if (plan.channels_in_lanes) {
      if (gather.layout == Layout::kContiguous) return Finish::kImage;
      return std::is_same_v<S, X> ? Finish::kNothing : Finish::kRows;
    }
    if (plan.unpadded == Unpadded::kCopied && in_place) return Finish::kPlanes;
    const bool as_result = std::is_same_v<S, X> && gather.columns.dst_step == 1 && !spaced();
    return as_result ? Finish::kNothing : Finish::kRows;
  }
  Destination<X> destination() const {
    const int64_t width = plan.width(gather), lanes = plan.lanes;
    const int64_t step = gather.columns.dst_step, first_row = dst_row();
    X* const kept = (X*)sums;
    switch (finish()) {
      case Finish::kPlanes:
        return {kept, first_row, width, 1, 0, Finish::kPlanes};
      case Finish::kImage:
        return {kept,           first_row,     width * lanes * blocks, step * lanes * blocks,
                lanes * blocks, Finish::kImage};
      case Finish::kRows: {
        const int64_t phase = plan.channels_in_lanes ? lanes : sums_length();
        const int64_t pitch =
            plan.channels_in_lanes ? width * lanes : gather.columns.phases * phase;
        return {kept, first_row, pitch, step * lanes, phase, Finish::kRows};
      }
      default: {
        const int64_t pitch = plan.channels_in_lanes ? dst_channels() : 1;
        return {(X*)pixel(first_row, 0), first_row, width * pitch, step * pitch, pitch,
                Finish::kNothing};
      }
    }
  }

  int64_t sums_length() const { return round_up(gather.columns.longest, plan.lanes); }
  int64_t dst_channels() const { return gather.groups * gather.dst_channels; }
  // Source and result of the call, which are asked for ahead of time where caches do not hold so many bytes.
  bool exceeds(double bytes) const {
    const double pixels = (double)gather.rows.src_size * (double)gather.columns.src_size +
                          (double)gather.rows.dst_size * (double)gather.columns.dst_size;
    return pixels * (double)(gather.n * dst_channels()) * sizeof(X) > bytes;
  }
  // Whether what tiles store in the result goes past the caches, as far as that is whole cache lines.
  bool stores_lines() const {
    const int64_t pixels = gather.rows.dst_size * gather.columns.dst_size;
    return !staged && !task.activates() && !plan.folded.any() &&
           goes_past_caches((const S*)task.result, gather.n * dst_channels() * pixels,
                            cost::kStreamedDepthwiseBytesAvx2);
  }
  int64_t first_channel() const { return plan.channels_in_lanes ? block * plan.lanes : block; }
  int64_t channel_count() const {  // from the first channel of `block` on
    if (!plan.channels_in_lanes) return 1;
    return smaller(blocks * plan.lanes, dst_channels() - first_channel());
  }

  S* pixel(int64_t row, int64_t column) const {
    const int64_t first_row = dst_row();
    if (staged) return staged + (row - first_row) * plan.width(gather) + column;
    return result_pixel(row, column);
  }
  S* result_pixel(int64_t row, int64_t column) const {
    const int64_t at = row * plan.width(gather) + column;
    if (gather.layout == Layout::kChannelsLast) {
      return result + at * dst_channels() + first_channel();
    }
    return result + first_channel() * plan.height(gather) * plan.width(gather) + at;
  }

  // Tile row m of the sums to a row of the result.
  void store_row(int64_t m, int64_t row) const {
    const int64_t width = plan.width(gather);
    if (plan.channels_in_lanes) {
      const T* from = sums + m * width * plan.lanes;
      for (int64_t j = 0; j < width; ++j, from += plan.lanes) {
        copy_span(from, pixel(row, j), channel_count(), bias);
      }
      return;
    }
    const int64_t length = sums_length(), step = gather.columns.dst_step;
    const int64_t pixel_step = spaced() ? dst_channels() : 1;
    T* const from = sums + m * gather.columns.phases * length;
    if (bias) {
      for (int64_t j = 0; j < width; ++j) from[j] += bias[0];
    }
    if (step * pixel_step == 1) return copy_span(from, pixel(row, 0), width);
    int64_t done = 0;
    if (step == 2 && pixel_step == 1) {
      using V = Simd<T>;
      for (S* out = pixel(row, 0); 2 * (done + V::kLanes) <= width; done += V::kLanes) {
        auto even = V::load(from + done), odd = V::load(from + length + done);
        V::interleave(even, odd);
        V::store(out + 2 * done, even);
        V::store(out + 2 * done + V::kLanes, odd);
      }
    }
    for (int64_t pc = 0; pc < gather.columns.phases; ++pc) {
      S* const out = pixel(row, pc);
      for (int64_t j = done; j * step + pc < width; ++j) {
        from_compute(out + j * step * pixel_step, from[pc * length + j]);
      }
    }
  }

  // Several blocks have all rows of their planes.
  void store_staged() const {
    if (staged)
      copy_past_caches(staged, result_pixel(dst_row(), 0),
                       blocks * dst_rows() * plan.width(gather));
  }
  int64_t dst_row() const { return row_begin * gather.rows.dst_step; }
  int64_t dst_rows() const {
    return smaller(plan.rows.size * gather.rows.dst_step, plan.height(gather) - dst_row());
  }

  // What is left when all tiles are done.
  void store_rest() const {
    const int64_t width = plan.width(gather), height = plan.height(gather);
    const int64_t row = dst_row(), rows = dst_rows();
    if (finish() == Finish::kPlanes) {  // several blocks have all rows of their planes
      copy_span(sums, pixel(row, 0), blocks * rows * width);
    } else if (finish() == Finish::kImage) {
      transpose_copy(sums, plan.lanes * blocks, rows * width, channel_count(), pixel(row, 0),
                     height * width, bias);
    }
    if (!task.activates()) return;
    const int64_t channels = plan.channels_in_lanes ? channel_count() : blocks;
    if (gather.layout == Layout::kChannelsLast) {
      activate(task, pixel(row, 0), rows * width, dst_channels(), channels);
    } else {
      activate(task, pixel(row, 0), channels, height * width, rows * width);
    }
  }
};

}  // namespace
}  // namespace torchconv::cpu

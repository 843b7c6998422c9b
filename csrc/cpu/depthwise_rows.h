// What the loops over tiles share: where a job finds its source, weights and sums, and the store
// stage of sums that need another type or order on their way to the result. Included inside the
// namespace of each isa_*.cpp.
#pragma once

// What tiles read: the band of one block, or the source itself.
template <class X>
struct DepthwiseView {
  const X* origin;                   // the element at source row `row` and column `column`
  int64_t row, row_skip, row_pitch;  // a view row is row_skip source rows on
  int64_t column, column_pitch,
      dst_pitch;  // elements from a source and from a destination column to the next
};

// Destination rows [row_begin, row_begin + z.rows) of every phase of one image, for some blocks. X
// is the type of what tiles read: T in a band, S in place.
template <class S, class X>
struct DepthwiseRows {
  using T = Compute<S>;
  static constexpr bool kSameType = std::is_same_v<S, X>;

  const Task& task;
  const Gather& g;
  const DepthwisePlan& z;
  int64_t row_begin;
  DepthwiseView<X> view;
  int64_t* offsets;
  T* sums;
  const T* bias;          // of `block`, or null
  const T* weights;       // of `block`
  int64_t block, blocks;  // one, but in place
  bool skip_padding;      // where all weights are finite, padding adds nothing
  bool in_place;          // there is no padding to read: tiles must not reach it
  S* result;              // of this image

  bool whole() const { return z.channel_lanes && g.layout == Layout::kContiguous; }
  // Neighbours of a plane of the result that have other planes between them.
  bool spaced() const {
    return !z.channel_lanes && g.layout == Layout::kChannelsLast && dst_channels() > 1;
  }
  // Sums that need another type or order on their way to the result take a detour.
  bool detour() const {
    return !kSameType || (z.channel_lanes ? whole() : g.columns.dst_step > 1 || spaced());
  }
  // Sums of pixel lanes that lie as the result does.
  bool dense_sums() const { return z.dense && in_place && !z.channel_lanes; }
  int64_t dst_channels() const { return g.groups * g.dst_channels; }
  int64_t first_channel() const { return z.channel_lanes ? block * z.lanes : block; }
  int64_t channel_count() const {  // from the first channel of `block` on
    return z.channel_lanes ? smaller(blocks * z.lanes, dst_channels() - first_channel()) : 1;
  }

  S* pixel(int64_t row, int64_t column) const {
    const int64_t at = row * g.columns.dst_size + column;
    if (g.layout == Layout::kChannelsLast) return result + at * dst_channels() + first_channel();
    return result + first_channel() * g.rows.dst_size * g.columns.dst_size + at;
  }

  // Tile row m of the sums to a row of the result.
  void store_row(int64_t m, int64_t row) const {
    if (z.channel_lanes) {
      const T* from = sums + m * g.columns.dst_size * z.lanes;
      for (int64_t j = 0; j < g.columns.dst_size; ++j, from += z.lanes) {
        copy_run<T, S, T>(from, pixel(row, j), channel_count(), bias);
      }
      return;
    }
    const int64_t length = round_up(g.columns.longest, z.lanes);
    const int64_t step = g.columns.dst_step, pixel_step = spaced() ? dst_channels() : 1;
    T* const from = sums + m * g.columns.phases * length;
    if (bias) {
      for (int64_t j = 0; j < g.columns.dst_size; ++j) from[j] += bias[0];
    }
    if (step * pixel_step == 1) {
      return copy_run<T, S, T>(from, pixel(row, 0), g.columns.dst_size, nullptr);
    }
    int64_t done = 0;
    if (step == 2 && pixel_step == 1) {
      using V = Simd<T>;
      for (S* out = pixel(row, 0); 2 * (done + V::kLanes) <= g.columns.dst_size;
           done += V::kLanes) {
        auto even = V::load(from + done), odd = V::load(from + length + done);
        V::interleave(even, odd);
        V::store(out + 2 * done, even);
        V::store(out + 2 * done + V::kLanes, odd);
      }
    }
    for (int64_t pc = 0; pc < g.columns.phases; ++pc) {
      S* const out = pixel(row, pc);
      for (int64_t j = done; j * step + pc < g.columns.dst_size; ++j) {
        from_compute(out + j * step * pixel_step, from[pc * length + j]);
      }
    }
  }

  // All rows of all blocks; several blocks have all rows of their planes.
  void store_dense() const {
    const int64_t rows = smaller(z.rows, g.rows.dst_size - row_begin);
    copy_run<T, S, T>(sums, pixel(row_begin, 0), blocks * rows * g.columns.dst_size, nullptr);
  }

  // All rows at once, from [pixel][lanes] to planes.
  void store_whole() const {
    const int64_t row = row_begin * g.rows.dst_step;
    const int64_t rows = smaller(z.rows * g.rows.dst_step, g.rows.dst_size - row);
    transpose_copy<T, S, T>(sums, z.lanes, rows * g.columns.dst_size, channel_count(),
                            pixel(row, 0), g.rows.dst_size * g.columns.dst_size, bias);
  }
};

// The store stage of winograd: sums [point][tile][lanes] become A^T m A, pixels of the destination in any
// dtype and layout.
#pragma once

#include "cpu/common/activate.h"
#include "cpu/common/copy.h"
#include "cpu/common/register_tile.h"
#include "cpu/winograd/plan.h"
#include "cpu/winograd/strided_transforms.h"
#include "cpu/winograd/transforms.h"

namespace torchconv::cpu {
namespace {

// Where the pixels of a tile go.
template <class Out>
struct TilePlace {
  Out* data;
  int64_t row, column;                        // elements from one to the next
  int64_t rows, columns, lanes;               // inside the destination
  bool odd_down = false, odd_across = false;  // for destination()

  TilePlace at_lane(int64_t lane) const {
    const int64_t left = smaller(kLaneBlock<Compute<Out>>, lanes - lane);
    return {data + lane, row, column, rows, columns, left, odd_down, odd_across};
  }
};

// Lines that will be written are so far apart that no hardware prefetcher sees the next one coming.
template <int kRows, int kColumns, class Out>
void prefetch_tile(const Out* data, int64_t row, int64_t column) {
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kColumns; ++j) __builtin_prefetch(data + i * row + j * column, 1);
  }
}

// One block of lanes. `bias` is null or has a block.
template <class F, bool kWhole, class Out>
void transform_sums(const Compute<Out>* sums, int64_t pitch, const Compute<Out>* bias,
                    TilePlace<Out> to) {
  using V = Simd<Compute<Out>>;
  using Vec = typename V::Vec;
  using Down = typename F::Down;
  using Across = typename F::Across;
  for (int64_t lane = 0; lane < kLaneBlock<Compute<Out>>; lane += V::kLanes) {
    if (!kWhole && lane >= to.lanes) break;
    const Vec added = bias ? V::load(bias + lane) : V::zero();
    transform_both_axes<V, Down::kPoints, Down::kTile, Across::kPoints, Across::kTile>(
        [](const auto& m, auto& pixels) { destination_transform<V>(Down{}, m, pixels); },
        [](const auto& m, auto& pixels) { destination_transform<V>(Across{}, m, pixels); },
        [&](int i, int j) { return V::load(sums + lane + (i * Across::kPoints + j) * pitch); },
        [&](int i, int j, Vec value) {
          const int64_t y = Down::destination(i, to.odd_down),
                        x = Across::destination(j, to.odd_across);
          if (!kWhole && (y >= to.rows || x >= to.columns)) return;
          Out* const at = to.data + lane + y * to.row + x * to.column;
          // Without a bias too: it turns -0 into +0.
          const Vec sum = V::add(without_sign_of_zero<V>(value), added);
          if constexpr (kWhole) {
            V::store(at, sum);
          } else {
            V::store_first(at, sum, smaller(V::kLanes, to.lanes - lane));
          }
        },
        kWhole || !Down::kInOrder ? Down::kTile : to.rows);
  }
}

// All lanes of a tile, of which the next one to be stored is `ahead` elements further on.
template <class F, class Out>
void store_tile(const Compute<Out>* sums, int64_t pitch, const Compute<Out>* bias,
                const TilePlace<Out>& place, int64_t ahead) {
  constexpr int kRows = F::Down::kTile, kColumns = F::Across::kTile;
  constexpr int64_t kBlock = kLaneBlock<Compute<Out>>;
  for (int64_t lane = 0; lane < place.lanes; lane += kBlock) {
    const TilePlace<Out> to = place.at_lane(lane);
    const auto* const bias_at = bias ? bias + lane : nullptr;
    if (to.columns == kColumns) prefetch_tile<kRows, kColumns>(to.data + ahead, to.row, to.column);
    if (to.rows == kRows && to.columns == kColumns && to.lanes == kBlock) {
      transform_sums<F, true>(sums + lane, pitch, bias_at, to);
    } else {
      transform_sums<F, false>(sums + lane, pitch, bias_at, to);
    }
  }
}

// The tiles of a segment, for the lanes of a panel from destination channel `first` on; `sums` are those
// of the first tile.
template <class F, class S>
void store_segment(const Task& task, const Gather& gather, const WinogradPlan& plan,
                   const Segment& segment, int64_t first, int64_t width, const Compute<S>* sums,
                   const Compute<S>* bias, Compute<S>* space) {
  using T = Compute<S>;
  constexpr int kRows = F::Down::kTile, kColumns = F::Across::kTile;
  const int64_t height = gather.rows.dst_size, row = gather.columns.dst_size;
  const int64_t y = segment.row * kRows, x = segment.column * kColumns;
  const int64_t rows = smaller(segment.rows * kRows, height - y),
                columns = smaller(segment.columns * kColumns, row - x);
  const int64_t valid = smaller(width, gather.dst_channels - first);
  S* const image = (S*)task.result + segment.image * gather.dst_channels * height * row;
  // Pixels from row `begin` to `end`. `lanes`: how many of one may be written.
  const auto store = [&](auto* pixels, int64_t row_pitch, int64_t pixel_pitch, int64_t lanes,
                         int64_t begin, int64_t end) {
    using Out = std::remove_pointer_t<decltype(pixels)>;
    for (int64_t i = begin; i < end; i += kRows) {
      for (int64_t j = 0; j < columns; j += kColumns, sums += width) {
        const TilePlace<Out> to = {pixels + (i - begin) * row_pitch + j * pixel_pitch,
                                   row_pitch,
                                   pixel_pitch,
                                   smaller(kRows, rows - i),
                                   smaller(kColumns, columns - j),
                                   lanes,
                                   gather.rows.padding % 2 != 0,
                                   gather.columns.padding % 2 != 0};
        store_tile<F>(sums, plan.sums_pitch, bias, to, kColumns * pixel_pitch);
      }
    }
  };
  if (gather.layout == Layout::kChannelsLast) {
    const int64_t pixel = gather.dst_channels;
    S* const out = image + (y * row + x) * pixel + first;
    if constexpr (std::is_same_v<S, T>) {
      if (task.replaces_residual()) {
        for (int64_t i = 0; i < rows; i += kRows) {
          const int64_t end = smaller(i + kRows, rows), line = columns * width;
          store(space, line, width, width, i, end);
          for (int64_t j = i; j < end; ++j) {
            activate<S>(task, space + (j - i) * line, width, out + j * row * pixel, columns, pixel,
                        valid);
          }
        }
        return;
      }
    }
    store(out, row * pixel, pixel, valid, 0, rows);
    if (!task.activates()) return;
    for (int64_t i = 0; i < rows; ++i) activate(task, out + i * row * pixel, columns, pixel, valid);
    return;
  }
  store(space, columns * width, width, width, 0, rows);
  S* const out = image + first * height * row + y * row + x;
  const int64_t spans = columns == row ? 1 : rows, length = rows * columns / spans;
  for (int64_t i = 0; i < spans; ++i) {
    transpose_copy(space + i * columns * width, width, length, valid, out + i * row, height * row);
    if (task.activates()) activate(task, out + i * row, valid, height * row, length);
  }
}

}  // namespace
}  // namespace torchconv::cpu

// The store stage of winograd where tiles of grad spread over the input (Spread in filtering.h) and padding repeats
// elements of that: B m B^T of each tile is added to the rows of the padded image that it reaches, and these are
// folded:
//
//     tiles of 2 x 2 pixels, 3 x 3 taps          a row of the padded image that no later tile reaches
//
//      0 0 0+1 0+1 1 1                            l | . . . . | r     what padding repeated is added
//      0 0 0+1 0+1 1 1     rows that the next     +---^ . . ^---+     to its column,
//      . . . .  .  . .  <- row of tiles            then the row is stored, or, of the padding, waits and
//      . . . .  .  . .     reaches, too            is added to its row of the result at the end
//
// A job has all tiles of an image, row after row, so that every element is the sum of the same terms in the same
// order: the tiles that reach it, then columns of the padding, then rows of it. Zeros as padding drop what would be
// added.
#pragma once

#include "cpu/common/copy.h"
#include "cpu/common/register_tile.h"
#include "cpu/winograd/grad_transforms.h"
#include "cpu/winograd/plan.h"

namespace torchconv::cpu {
namespace {

// Some destination channels from `first` on of images, one group of tiles after the other.
template <class F, class S>
class FoldedStore {
  using T = Compute<S>;
  using V = Simd<T>;
  using Vec = typename V::Vec;
  using Axis = typename F::Down;
  static constexpr int kTile = Axis::kTile, kSpread = Axis::kSpread, kShared = Axis::kShared;

 public:
  // `space`: rows of pixels of all panels, one after the other, or of this one alone.
  FoldedStore(const Task& task, const Gather& gather, const WinogradPlan& plan, int64_t first,
              int64_t width, T* space)
      : task_(task),
        shape_(task.shape),
        plan_(plan),
        around_(margins(task.shape)),
        first_(first),
        width_(width),
        valid_(smaller(width, gather.dst_channels - first)) {
    const FoldedImages images(task.shape, F::kDown, 1);
    row_size_ = images.columns * width;
    transposed_ = space + plan.scratch.pixels - images.columns * plan.lanes;
    const bool of_all = plan.first == WinogradPlan::First::kWeights;
    rows_ = space + (of_all ? images.rows * images.columns * first : 0);
    waiting_ = rows_ + kSpread * row_size_;
  }

  // `sums`: of the tiles of the units.
  void run(Range units, const T* sums) const {
    for (int64_t unit = units.begin; unit < units.end; ++unit) {
      int64_t stop;
      const Segment segment(plan_.grid, unit, unit + 1, stop);
      if (segment.column == 0) begin_tile_row(segment.row);
      for (int64_t i = 0; i < segment.columns; ++i, sums += width_)
        spread(sums, segment.row, segment.column + i);
      if (segment.column + segment.columns == plan_.grid.columns)
        end_tile_row(segment.image, segment.row);
    }
  }

 private:
  T* row(int64_t padded_row) const { return rows_ + padded_row % kSpread * row_size_; }
  T* waiting(int64_t index) const { return waiting_ + index * row_size_; }

  // What tiles are added to.
  void begin_tile_row(int64_t tile_row) const {
    for (int i = 0; i < kSpread; ++i) {
      const bool fresh = i >= kShared;
      if (!fresh && tile_row > 0) continue;
      fill_zero(row(tile_row * kTile + i), fresh ? kShared * width_ : row_size_);
    }
  }

  void spread(const T* sums, int64_t tile_row, int64_t tile_column) const {
    T* to[kSpread];
    for (int i = 0; i < kSpread; ++i)
      to[i] = row(tile_row * kTile + i) + tile_column * kTile * width_;
    for (int64_t lane = 0; lane < width_; lane += V::kLanes) {
      const auto transform = [](const auto& in, auto& out) {
        spread_transform<V>(Axis{}, in, out);
      };
      transform_both_axes<V, Axis::kPoints, kSpread, Axis::kPoints, kSpread>(
          transform, transform,
          [&](int i, int j) {
            return V::load(sums + lane + (i * Axis::kPoints + j) * plan_.sums_pitch);
          },
          [&](int i, int j, Vec value) {
            T* const at = to[i] + lane + j * width_;
            const bool reached = i < kShared || j < kShared;
            V::store(at, reached ? V::add(V::load(at), value) : without_sign_of_zero<V>(value));
          });
    }
  }

  void end_tile_row(int64_t image, int64_t tile_row) const {
    const int64_t height = shape_.pad_top + shape_.h + shape_.pad_bottom;
    const bool last = tile_row + 1 == plan_.grid.rows;
    S* const out = (S*)task_.result + image * shape_.c * shape_.h * shape_.w +
                   first_ * (is_contiguous() ? shape_.h * shape_.w : 1);
    for (int64_t y = tile_row * kTile; y < (last ? height : (tile_row + 1) * kTile); ++y) {
      T* const pixels = row(y);
      if (around_.any()) fold_columns(pixels);
      const T* const inside = pixels + shape_.pad_left * width_;
      const int64_t at = y - shape_.pad_top;
      if (at >= 0 && at < shape_.h) {
        store_row(inside, out, at);
      } else if (around_.any()) {
        copy_span(inside, waiting(at < 0 ? y : y - shape_.h), shape_.w * width_);
      }
    }
    if (!last || !around_.any()) return;
    for (int64_t i = 0; i < shape_.pad_top + shape_.pad_bottom; ++i) {
      const int64_t y = i < shape_.pad_top ? i - shape_.pad_top : shape_.h + i - shape_.pad_top;
      add_row(waiting(i), out, around_.row(y, shape_.h));
    }
  }

  void fold_columns(T* pixels) const {
    const auto add = [&](int64_t x) {
      const T* const from = pixels + (shape_.pad_left + x) * width_;
      T* const to = pixels + (shape_.pad_left + around_.column(x, shape_.w)) * width_;
      add_vectors(from, width_, to);
    };
    for (int64_t x = -shape_.pad_left; x < 0; ++x) add(x);
    for (int64_t x = 0; x < shape_.pad_right; ++x) add(shape_.w + x);
  }

  void store_row(const T* pixels, S* out, int64_t y) const {
    const int64_t length = shape_.w;
    if (is_contiguous()) {
      transpose_copy(pixels, width_, length, valid_, out + y * length, shape_.h * length);
      return;
    }
    S* const to = out + y * length * shape_.c;
    for (int64_t x = 0; x < length; ++x) copy_span(pixels + x * width_, to + x * shape_.c, valid_);
  }

  void add_row(const T* pixels, S* out, int64_t y) const {
    const int64_t length = shape_.w;
    if (!is_contiguous()) {
      S* const to = out + y * length * shape_.c;
      for (int64_t x = 0; x < length; ++x)
        add_vectors(pixels + x * width_, valid_, to + x * shape_.c);
      return;
    }
    for (int64_t lane = 0; lane < valid_; lane += plan_.lanes) {
      const int64_t lanes = smaller(plan_.lanes, valid_ - lane);
      transpose_copy(pixels + lane, width_, length, lanes, transposed_, length);
      for (int64_t i = 0; i < lanes; ++i) {
        add_vectors(transposed_ + i * length, length, out + ((lane + i) * shape_.h + y) * length);
      }
    }
  }

  template <class Out>
  static void add_vectors(const T* from, int64_t count, Out* sum) {
    for (int64_t i = 0; i < count; i += V::kLanes) {
      const int64_t left = smaller(V::kLanes, count - i);
      V::store_first(sum + i, V::add(V::load_first(sum + i, left), V::load_first(from + i, left)),
                     left);
    }
  }

  bool is_contiguous() const { return shape_.layout == Layout::kContiguous; }

  const Task& task_;
  const Conv2dShape& shape_;
  const WinogradPlan& plan_;
  const Margins around_;
  const int64_t first_, width_, valid_;
  int64_t row_size_;
  T *rows_, *waiting_, *transposed_;
};

}  // namespace
}  // namespace torchconv::cpu

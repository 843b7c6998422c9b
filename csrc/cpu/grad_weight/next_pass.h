// What the next pass of a 1 x 1 layer in channels_last reads comes from beyond the caches, pixel after pixel, of which a
// block takes a part: no hardware prefetcher follows. It is fetched while the tiles of this pass are summed.
#pragma once

#include "cpu/common/beyond_caches.h"
#include "cpu/grad_weight/block.h"

namespace torchconv::cpu {
namespace {

template <class S>
class NextPass {
 public:
  // Tile rows between two fetches: whole tiles of two vectors and more.
  static constexpr int64_t kRows = 24;

  // Fetches nothing where the pixels of a pass do not follow each other, where a cache has all of them, or where tiles
  // read both operands in place (16 -> 96 channels at 112 x 112 took 1.07 to 1.14 times as long with it, Zen 4).
  NextPass(const Task& task, const Gather& layer, const GradWeightPlan& plan,
           const GradWeightBlock& loaded, const GradWeightPart& part) {
    const Axis &rows = layer.rows, &columns = layer.columns;
    const int64_t row = columns.dst_size, image = rows.dst_size * row;
    const int64_t c = layer.groups * layer.src_channels, k = layer.groups * layer.dst_channels;
    const bool pixels_follow = layer.layout == Layout::kChannelsLast && layer.taps() == 1 &&
                               rows.src_size == rows.dst_size && rows.inside() &&
                               columns.src_size == row && columns.inside();
    const double bytes = (double)(layer.n * image) * (double)(c + k) * sizeof(S);
    const int64_t pixels = part.images * part.rows * row;
    const int64_t first = part.image * image + part.row * row + pixels;
    const bool in_place = plan.lanes.in_place && plan.rows.in_place;
    if (!pixels_follow || in_place || bytes <= cost::kNextPassBytes || first >= layer.n * image)
      return;
    const GradWeightChannels &of_input = plan.lanes.is_input ? loaded.lanes : loaded.rows,
                             &of_grad = plan.lanes.is_input ? loaded.rows : loaded.lanes;
    input_ = {(const S*)task.input + first * c + loaded.group * layer.src_channels + of_input.begin,
              c, of_input.count};
    grad_ = {(const S*)task.grad + first * k + loaded.group * layer.dst_channels + of_grad.begin, k,
             of_grad.count};
    left_ = smaller(pixels, layer.n * image - first);
  }

  // From now on a part of it comes with each of so many calls of fetch().
  void spread(int64_t calls) { at_once_ = ceil_div(left_, calls); }

  bool any() const { return left_ > 0; }

  void fetch() {
    const int64_t count = smaller(at_once_, left_);
    for (Part* const part : {&input_, &grad_}) {
      prefetch_rows(part->at, part->pixel, count, part->channels);
      part->at += count * part->pixel;
    }
    left_ -= count;
  }

 private:
  struct Part {
    const S* at = nullptr;
    int64_t pixel = 0, channels = 0;  // from pixel to pixel; of the block
  };
  Part input_, grad_;
  int64_t left_ = 0, at_once_ = 0;  // pixels
};

}  // namespace
}  // namespace torchconv::cpu

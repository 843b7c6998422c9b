// The input of grad_weight as [row][channel][column]: rows of a few contiguous channels, copied as they are.
#pragma once

#include "cpu/common/load_patch.h"
#include "cpu/grad_weight/load_pairs.h"

namespace torchconv::cpu {
namespace {

// The patch of `count` rows of the output from `first` on, of one section; rows are `pitch` elements apart.
template <class S, class A>
void load_channel_rows(const Image<S>& image, const Patch& patch, const Gather& gather,
                       int64_t first, int64_t count, int64_t channel, int64_t channels, A* out,
                       int64_t pitch) {
  PatchBox box = section_box(patch, gather, 0, first, count, channel, 1);
  const int64_t rows = box.rows;
  box.rows = 1;
  for (int64_t i = 0; i < rows; ++i, box.row += box.row_skip) {
    for (box.channel = channel; box.channel < channel + channels; ++box.channel, out += pitch) {
      if constexpr (std::is_same_v<A, Operand<S>>) {
        load_patch(image, box, out, 1);
      } else {
        load_pairs(image, box, gather.columns.src_step, out, 1);
      }
    }
  }
}

}  // namespace
}  // namespace torchconv::cpu

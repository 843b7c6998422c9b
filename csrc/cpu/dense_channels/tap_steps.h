// Pairs of taps: a layer of few source channels is summed plane by plane, in the order c, r, s, so that any
// two taps that follow each other may be a step of one instruction (simd/pairs.h). The second is the next
// one of the row, or the first of the next row or channel, or for the very last tap of an odd number nothing.
// Where it lies depends on nothing else, so the patch of a job has an image of its own for each of these:
//
//     a channel of the source     a b c d     taps 2 x 3, dilation 1
//                                 e f g h
//
//     next column     ab bc cd    taps (0, 0) and (0, 1); (1, 1) and (1, 2)
//                     ef fg gh
//     next row        ce df       taps (0, 2) and (1, 0)
//
// No torch, no SIMD.
#pragma once

#include "cpu/common/patch.h"

namespace torchconv::cpu {

enum Second { kNextColumn, kNextRow, kNextChannel, kNothing };
constexpr int64_t kSeconds = 4;

// How far apart things lie in an image of a patch.
struct TapPitches {
  int64_t channel, down, right;  // elements between channels and between taps
};

struct TapSteps {
  int64_t channels, rows, columns;  // all taps of a sum

  explicit TapSteps(const Gather& gather)
      : channels(gather.src_channels), rows(gather.rows.kernel), columns(gather.columns.kernel) {}

  bool has(Second second) const {
    return second == kNextColumn    ? columns > 1
           : second == kNextRow     ? rows > 1 && columns % 2
           : second == kNextChannel ? channels > 1 && rows * columns % 2
                                    : channels * rows * columns % 2;
  }
  // The images of pairs that a patch has, and the one of these.
  int64_t images(int64_t before = kSeconds) const {
    int64_t count = 0;
    for (int64_t i = 0; i < before; ++i) count += has((Second)i);
    return count;
  }

  // visit(c, r, s, second) for all steps
  template <class Visit>
  void each(const Visit& visit) const {
    for (int64_t step = 0; step < channels * rows * columns; step += 2) {
      const int64_t s = step % columns, r = step / columns % rows, c = step / columns / rows;
      visit(c, r, s,
            s + 1 < columns    ? kNextColumn
            : r + 1 < rows     ? kNextRow
            : c + 1 < channels ? kNextChannel
                               : kNothing);
    }
  }

  // From the first element of a pair to the second.
  int64_t apart(Second second, const TapPitches& pitch) const {
    const int64_t row_end = (columns - 1) * pitch.right, last_row = (rows - 1) * pitch.down;
    return second == kNextColumn    ? pitch.right
           : second == kNextRow     ? pitch.down - row_end
           : second == kNextChannel ? pitch.channel - last_row - row_end
                                    : 0;
  }
};

}  // namespace torchconv::cpu

// Which pixels of a pass of grad_weight see the input with a tap; the others see padding, and add nothing. Their
// entries of the tables that say where operands have each pixel are copied, so that a tile goes over them alone.
// No torch, no SIMD.
#pragma once

#include "cpu/grad_weight/plan.h"

namespace torchconv::cpu {

// The pixels of a pass, or the pairs of them.
struct PassPixels {
  int64_t row, rows, across;  // output rows of each image, and how many pixels one has
};

class InnerPixels {
 public:
  // Of tap (r, s). `together`: neighbours that are one pixel, for which it is enough if one of them sees the input.
  InnerPixels(const Gather& gather, const PassPixels& pass, int64_t together, int64_t r, int64_t s)
      : pass_(pass) {
    const Axis &down = gather.rows, &right = gather.columns;
    const AxisPhase rows = down.phase(0), columns = right.phase(0);
    rows_ = inside(pass.row * down.src_step + rows.src_first + r * rows.src_delta, down.src_step,
                   pass.rows, down.src_size);
    const Range single = inside(columns.src_first + s * columns.src_delta, right.src_step,
                                right.dst_size, right.src_size);
    columns_ = {single.begin / together, ceil_div(single.end, together)};
  }

  bool all() const {
    return rows_.begin == 0 && rows_.end == pass_.rows && columns_.begin == 0 &&
           columns_.end == pass_.across;
  }

  // Calls copy(from, to, count) for each run of them among `count` pixels from `first` on: the entries of a table
  // from `from` on become those from `to` on. Returns how many they are.
  template <class Copy>
  int64_t runs(int64_t first, int64_t count, const Copy& copy) const {
    int64_t inner = 0, row = first / pass_.across, y = row % pass_.rows;
    const int64_t last = first + count;
    for (int64_t begin = row * pass_.across; begin < last; begin += pass_.across, ++y) {
      if (y == pass_.rows) y = 0;
      if (y < rows_.begin || y >= rows_.end) continue;
      const int64_t from = larger(first, begin + columns_.begin);
      const int64_t run = smaller(last, begin + columns_.end) - from;
      if (run <= 0) continue;
      copy(from, inner, run);
      inner += run;
    }
    return inner;
  }

 private:
  PassPixels pass_;
  Range rows_, columns_;
};

}  // namespace torchconv::cpu

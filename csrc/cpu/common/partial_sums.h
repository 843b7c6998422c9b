// How the taps of a sum are cut into partial sums, for the loops of a register tile. No torch, no SIMD.
#pragma once

#include "cpu/common/gather.h"

namespace torchconv::cpu {

// The taps of a partial sum, as three loops: blocks of channels x rows of the kernel x steps. The gaps
// are entries of the tables that are skipped after each row and each block, because their taps see
// only padding. Where nothing is skipped, one loop is enough.
struct TapBox {
  int64_t steps;
  int64_t rows = 1, row_gap = 0;
  int64_t c_blocks = 1, block_gap = 0;

  TapBox merged() const {
    TapBox box = *this;
    if (!row_gap) box.steps *= rows, box.rows = 1;
    if (!row_gap && !block_gap) box.steps *= c_blocks, box.c_blocks = 1;
    return box;
  }
};

// `count` partial sums, the last of which may be shorter.
struct PartialSums {
  int64_t count;
  TapBox each, last;

  PartialSums(int64_t steps = 0) : count(1), each{steps}, last{steps} {}

  // c_blocks blocks of channels, `partial` of them in each; `block`: one of them.
  PartialSums(TapBox block, int64_t c_blocks, int64_t partial)
      : count(ceil_div(c_blocks, partial)), each(block), last(block) {
    each.c_blocks = partial, last.c_blocks = c_blocks - (count - 1) * partial;
    each = each.merged(), last = last.merged();
  }

  // Of so many source channels, in a phase with so many taps; `block`: those of one channel block.
  PartialSums(const Gather& gather, TapBox block, int64_t channels, int64_t taps)
      : PartialSums(block, channels / gather.order.c_block, gather.order.partial(taps)) {
    if (gather.order.by_products) *this = {{1}, channels * taps, gather.order.partial(taps)};
  }
};

}  // namespace torchconv::cpu

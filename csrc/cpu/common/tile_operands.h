// What a register tile (register_tile.h) is given: where its operands are, and how it goes on to others.
#pragma once

#include "cpu/common/gather.h"
#include "cpu/simd/pairs.h"

namespace torchconv::cpu {

// The taps of a partial sum, as three loops: blocks of channels x rows of the kernel x steps. The gaps
// are entries of the tables that are skipped after each row and each block, because their taps see
// only padding. Where nothing is skipped, one loop is enough.
struct TapBox {
  int64_t steps;
  int64_t rows = 1, row_gap = 0;
  int64_t c_blocks = 1, block_gap = 0;

  int64_t all_steps() const { return c_blocks * rows * steps; }

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

namespace {

enum class Steps { kTableA, kTableB, kTables, kMatrix, kTransposed, kRuns, kNeighbours };
// The first partial sum is stored to c, or added to it, or stored as the only one, past the caches where the tile has
// whole cache lines.
enum class Sum { kStart, kAdd, kStream };
// What whole sums become before they are stored: max(0, sum), and that at most 6.
enum class Clamp { kNone, kRelu, kRelu6 };

// Where a tile of pairs stores its sums once they are whole, rounded, in the place of c, if not null;
// Steps::kTableA alone.
template <class T>
struct RoundedResult {
  void round_from(int64_t, int64_t) {}
  void skip(int64_t) {}
  static constexpr int64_t rounded_row = 0;
};
template <>
struct RoundedResult<Pair> {
  BFloat16* rounded = nullptr;
  int64_t rounded_row = 0;

  // The tile goes on so many rows further down and lanes further right.
  void round_from(int64_t rows, int64_t lanes) { skip(rows * rounded_row + lanes); }
  void skip(int64_t elements) {
    if (rounded) rounded += elements;
  }
};

// T: the operands, numbers or pairs of them; sums are kept in Compute<T>.
template <class T>
struct Tile : RoundedResult<T> {
  PartialSums partials;
  const T* a;
  int64_t a_row = 0;   // not kTableB
  int64_t a_step = 0;  // kTransposed only, whose rows are neighbours
  int64_t run = 0;     // kTableA: steps of a kRuns tile's runs, fours; 0 where there are none
  const T* b;
  int64_t step = 0;  // not kTables
  const int64_t* offset;
  const int64_t* b_offset = nullptr;  // kTables only
  Compute<T>* c;
  int64_t c_row;
  Sum sum;
  Clamp clamp = Clamp::kNone;  // kTableA and matrices, not of pairs
  // Added after the last step, where not null.
  const Compute<T>* lane_bias = nullptr;  // [j]
  const Compute<T>* row_bias = nullptr;   // [m]
};

// What is read after a tile and lies beyond the L2 cache: so many elements for each row of the tile are
// fetched into it while they are summed. No part of Tile: with more members, layers of few sums took
// up to a tenth longer. Of kTableB row is how far behind the lanes of a step others are fetched.
template <class T>
struct Ahead {
  const T* data = nullptr;
  int64_t row = 0;

  Ahead after(int64_t rows) const { return {data + rows * row, row}; }
};

// How far it is from one of several equal tiles to the next: in a, in c, where sums are stored rounded, and in b
// (kTables).
struct Tiles {
  int64_t count, a, c, rounded, b = 0;
};

// Rows of pixels that the same tiles go over, one below the other, and how far apart they are.
struct Below {
  int64_t count = 1, a = 0, c = 0, rounded = 0;
};

// Vectors of half as many lanes, which a processor may compute in half the time; void on levels without.
template <class V, class = void>
struct HalfOf {
  using type = void;
};
template <class V>
struct HalfOf<V, std::void_t<typename V::Half>> {
  using type = typename V::Half;
};

}  // namespace
}  // namespace torchconv::cpu

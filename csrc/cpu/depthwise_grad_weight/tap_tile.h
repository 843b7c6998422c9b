// The inner loop of depthwise's weight gradient: a register tile of taps, each of them in every
// lane one chain of fused multiply-adds over the rows and columns of grad. Lanes are pixels of a
// row or channels of a pixel. Which taps share a tile enters no sum.
//
// The tile slides down the source: a source row is a tap row of several rows of grad, so a vector is
// loaded once for all of them.
#pragma once

#include "cpu/common/register_tile.h"
#include "cpu/depthwise/tile.h"

namespace torchconv::cpu {
namespace {

template <class T>
struct DepthwiseTaps {
  const T* x;              // source row of grad row 0 and the first tap row
  int64_t x_row, x_step;   // from one patch row and from one vector to the next
  int64_t advance, delta;  // patch rows from one grad row and from one tap row to the next
  const int64_t* offset;   // of the taps of one row
  const T* grad;
  int64_t grad_row, grad_step;
  int64_t rows;        // of grad
  int64_t vecs, last;  // vectors of a row; elements of the last
  T* sums;             // added to
  int64_t sums_row, sums_step;
};

// One source row for the tap rows [kFrom, kTo] of the tile; grad: its row for tap row 0.
template <class T, int kFrom, int kTo, int kRows, int kTaps>
[[gnu::always_inline]] inline void taps_source_row(const DepthwiseTaps<T>& t, const T* x,
                                                   const T* grad,
                                                   typename Simd<T>::Vec (&sum)[kRows][kTaps]) {
  using V = Simd<T>;
  const int64_t tap_row = t.delta * t.grad_row, x_step = t.x_step, grad_step = t.grad_step;
  const T* at[kTaps];
#pragma GCC unroll 8
  for (int s = 0; s < kTaps; ++s) at[s] = x + t.offset[s];
  const int64_t whole = t.last == V::kLanes ? t.vecs : t.vecs - 1;
  for (int64_t j = 0; j < whole; ++j) {
    typename V::Vec g[kRows];
#pragma GCC unroll 8
    for (int r = kFrom; r <= kTo; ++r) g[r] = V::held(V::load(grad + j * grad_step - r * tap_row));
#pragma GCC unroll 8
    for (int s = 0; s < kTaps; ++s) {
      const typename V::Vec v = V::held(V::load(at[s] + j * x_step));
#pragma GCC unroll 8
      for (int r = kFrom; r <= kTo; ++r) sum[r][s] = V::fma(g[r], v, sum[r][s]);
    }
  }
  if (whole == t.vecs) return;
  // Both operands are cut: what lies beyond the row may be infinite.
#pragma GCC unroll 8
  for (int s = 0; s < kTaps; ++s) {
    const typename V::Vec v = V::load_first(at[s] + whole * x_step, t.last);
#pragma GCC unroll 8
    for (int r = kFrom; r <= kTo; ++r) {
      const typename V::Vec g = V::load_first(grad + whole * grad_step - r * tap_row, t.last);
      sum[r][s] = V::fma(g, v, sum[r][s]);
    }
  }
}

// Tap rows [from, to] one by one, each at its own source row and row of grad.
template <class T, int kRow, int kRows, int kTaps>
[[gnu::always_inline]] inline void taps_single_rows(const DepthwiseTaps<T>& t, int64_t from,
                                                    int64_t to, const T* x, int64_t x_tap,
                                                    const T* grad, int64_t grad_tap,
                                                    typename Simd<T>::Vec (&sum)[kRows][kTaps]) {
  if (from <= kRow && kRow <= to) {
    taps_source_row<T, kRow, kRow>(t, x + kRow * x_tap, grad + kRow * grad_tap, sum);
  }
  if constexpr (kRow + 1 < kRows) {
    taps_single_rows<T, kRow + 1>(t, from, to, x, x_tap, grad, grad_tap, sum);
  }
}

template <class T, int kRows, int kTaps>
[[gnu::noinline]] void depthwise_taps(const DepthwiseTaps<T>& t) {
  using V = Simd<T>;
  typename V::Vec sum[kRows][kTaps];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int s = 0; s < kTaps; ++s) sum[r][s] = V::zero();
  }
  if (t.advance == 1) {
    for (int64_t y = 0; y < t.rows + (kRows - 1) * t.delta; ++y) {
      // Source row y is tap row r of grad row y - r * delta.
      const T* const x = t.x + y * t.x_row;
      const T* const grad = t.grad + y * t.grad_row;
      const int64_t from = y < t.rows ? 0 : (y - t.rows) / t.delta + 1;
      const int64_t to = smaller(kRows - 1, y / t.delta);
      if (from == 0 && to == kRows - 1) {
        taps_source_row<T, 0, kRows - 1>(t, x, grad, sum);
      } else {
        taps_single_rows<T, 0>(t, from, to, x, 0, grad, 0, sum);
      }
    }
  } else {
    for (int64_t p = 0; p < t.rows; ++p) {
      const T* const x = t.x + p * t.advance * t.x_row;
      taps_single_rows<T, 0>(t, 0, kRows - 1, x, t.delta * t.x_row, t.grad + p * t.grad_row,
                             t.delta * t.grad_row, sum);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int s = 0; s < kTaps; ++s) {
      T* const at = t.sums + r * t.sums_row + s * t.sums_step;
      V::store(at, V::add(V::load(at), sum[r][s]));
    }
  }
}

constexpr int kTileTaps = 3, kTileTapRows = 7;

// As many tap rows as leave registers for grad's rows and one source vector.
template <class T, int kTaps>
constexpr int kMostTapRows = !kLargeTiles<T> ? 1
                             : (Simd<T>::kRegisters - 2) / (kTaps + 1) < kTileTapRows
                                 ? (Simd<T>::kRegisters - 2) / (kTaps + 1)
                                 : kTileTapRows;

// rows x kTaps taps.
template <class T, int kTaps>
void run_tap_rows(const DepthwiseTaps<T>& t, int64_t rows) {
  constexpr int kMost = kMostTapRows<T, kTaps>;
  const int64_t tiles = ceil_div(rows, kMost);
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t r = i * rows / tiles;
    DepthwiseTaps<T> part = t;
    part.x += r * t.delta * t.x_row;
    part.sums += r * t.sums_row;
    dispatch_int<1, kMost>((i + 1) * rows / tiles - r,
                           [&](auto count) { depthwise_taps<T, count.value, kTaps>(part); });
  }
}

// rows x taps taps.
template <class T>
void run_taps(const DepthwiseTaps<T>& t, int64_t rows, int64_t taps) {
  const int64_t tiles = ceil_div(taps, kTileTaps);
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t s = i * taps / tiles, count = (i + 1) * taps / tiles - s;
    DepthwiseTaps<T> part = t;
    part.offset += s;
    part.sums += s * t.sums_step;
    dispatch_int<1, kTileTaps>(
        count, [&](auto taps_of_tile) { run_tap_rows<T, taps_of_tile.value>(part, rows); });
  }
}

}  // namespace
}  // namespace torchconv::cpu

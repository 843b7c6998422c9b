// Depthwise's weight gradient with channels in the lanes and neighbouring taps: a window of source
// pixels slides along a row, so that each of them is loaded, and converted, once for all taps of a
// tile. Padding is no memory: the window holds zeros there, or what it repeats.
//
// A tile has some tap rows that read the same source rows, `delta` rows of grad apart.
#pragma once

#include "cpu/common/gather.h"
#include "cpu/common/register_tile.h"
#include "cpu/depthwise/tile.h"

namespace torchconv::cpu {
namespace {

template <class S>
struct DepthwiseWindows {
  const S* x;  // pixel (0, 0) of the image; what it points to may begin later
  int64_t x_row, x_pixel;
  int64_t height, width;
  Margins margins;
  const S* grad;  // pixel (0, 0) too
  int64_t grad_row, grad_pixel;
  int64_t row_begin, row_end, columns;  // of grad
  int64_t row_first, row_step;          // source row of row p of grad: row_first + p * row_step
  int64_t delta;
  int64_t column_first;  // source column of column 0 of grad and tap 0
  Compute<S>* sums;      // added to
  int64_t sums_row, sums_tap;
};

// Not inlined into all the kernels: rows have few columns of padding.
[[gnu::noinline]] int64_t repeated_column(const Margins& margins, int64_t column, int64_t width) {
  return margins.column(column, width);
}

// One source row for the tap rows [kFrom, kTo] of the tile; grad: its row for tap row 0.
template <int kFrom, int kTo, int kStep, class S, int kRows, int kTaps>
[[gnu::always_inline]] inline void windows_row(
    const DepthwiseWindows<S>& w, const S* x, const S* grad,
    typename Simd<Compute<S>>::Vec (&sum)[kRows][kTaps]) {
  using V = Simd<Compute<S>>;
  constexpr int kKept = kTaps - kStep;
  const int64_t x_pixel = w.x_pixel, grad_pixel = w.grad_pixel, width = w.width;
  const int64_t tap_row = w.delta * w.grad_row;
  typename V::Vec window[kTaps];
  const auto load = [&](int64_t column) {
    if (column >= 0 && column < width) return V::load(x + column * x_pixel);
    if (!w.margins.any()) return V::zero();
    return V::load(x + repeated_column(w.margins, column, width) * x_pixel);
  };
  const auto slide = [&] {
#pragma GCC unroll 8
    for (int s = 0; s < kKept; ++s) window[s] = window[s + kStep];
  };
  const auto multiply = [&] {
#pragma GCC unroll 8
    for (int r = kFrom; r <= kTo; ++r) {
      const auto g = V::held(V::load(grad - r * tap_row));
#pragma GCC unroll 8
      for (int s = 0; s < kTaps; ++s) sum[r][s] = V::fma(g, window[s], sum[r][s]);
    }
    grad += grad_pixel;
  };
  int64_t column = w.column_first;
#pragma GCC unroll 8
  for (int s = 0; s < kKept; ++s, ++column) window[kStep + s] = load(column);
  // `column` is the first one that the window lacks.
  int64_t left = w.columns;
  const auto slide_at_border = [&] {
    slide();
#pragma GCC unroll 8
    for (int s = kKept; s < kTaps; ++s, ++column) window[s] = load(column);
    multiply();
    --left;
  };
  while (left && column < 0) slide_at_border();
  int64_t inner = width - column >= kStep ? smaller(left, (width - column) / kStep) : 0;
  left -= inner;
  const S* from = x + column * x_pixel;
  column += inner * kStep;
  for (; inner; --inner) {
    slide();
#pragma GCC unroll 8
    for (int s = kKept; s < kTaps; ++s, from += x_pixel) window[s] = V::held(V::load(from));
    multiply();
  }
  while (left) slide_at_border();
}

// Where only the tap rows [from, to] have a row of grad.
template <int kFrom, int kTo, int kStep, class S, int kRows, int kTaps>
[[gnu::always_inline]] inline void windows_some_rows(
    const DepthwiseWindows<S>& w, int64_t from, int64_t to, const S* x, const S* grad,
    typename Simd<Compute<S>>::Vec (&sum)[kRows][kTaps]) {
  if (from == kFrom && to == kTo) return windows_row<kFrom, kTo, kStep>(w, x, grad, sum);
  if constexpr (kTo + 1 < kRows) {
    windows_some_rows<kFrom, kTo + 1, kStep>(w, from, to, x, grad, sum);
  } else if constexpr (kFrom + 1 < kRows) {
    windows_some_rows<kFrom + 1, kFrom + 1, kStep>(w, from, to, x, grad, sum);
  }
}

template <int kRows, int kTaps, int kStep, class S>
[[gnu::noinline]] void depthwise_windows(const DepthwiseWindows<S>& w) {
  using V = Simd<Compute<S>>;
  typename V::Vec sum[kRows][kTaps];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int s = 0; s < kTaps; ++s) sum[r][s] = V::zero();
  }
  for (int64_t p = w.row_begin; p < w.row_end + (kRows - 1) * w.delta; ++p) {
    // The source row of row p of grad is tap row r of row p - r * delta.
    const int64_t y = w.margins.row(w.row_first + p * w.row_step, w.height);
    if (y < 0) continue;
    const int64_t from = p < w.row_end ? 0 : (p - w.row_end) / w.delta + 1;
    const int64_t to = smaller(kRows - 1, (p - w.row_begin) / w.delta);
    windows_some_rows<0, 0, kStep>(w, from, to, w.x + y * w.x_row, w.grad + p * w.grad_row, sum);
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int s = 0; s < kTaps; ++s) {
      Compute<S>* const at = w.sums + r * w.sums_row + s * w.sums_tap;
      V::store(at, V::add(V::load(at), sum[r][s]));
    }
  }
}

// As many tap rows as leave registers for the window and a vector of grad.
template <class T, int kTaps>
constexpr int kMostWindowRows = !kLargeTiles<T> || Simd<T>::kRegisters < 3 * kTaps + 1 ? 1
                                : Simd<T>::kRegisters < 4 * kTaps + 1                  ? 2
                                                                                       : 3;

// All tap rows, those that share source rows in one tile.
template <int kTaps, int kStep, class S>
void run_windows(const DepthwiseWindows<S>& w, const Axis& axis, const AxisPhase& rows) {
  constexpr int kMost = kMostWindowRows<Compute<S>, kTaps>;
  const int64_t dilation = rows.taps > 1 ? rows.src_delta : 1;
  const int64_t apart = axis.src_step / greatest_common_divisor(axis.src_step, dilation);
  for (int64_t r = 0; r < smaller(apart, rows.taps); ++r) {
    const int64_t count = ceil_div(rows.taps - r, apart), tiles = ceil_div(count, kMost);
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t begin = i * count / tiles, tap = r + begin * apart;
      DepthwiseWindows<S> part = w;
      part.row_first = rows.src_first + tap * dilation - w.margins.top;
      part.delta = apart * dilation / axis.src_step;
      part.sums += tap * w.sums_row;
      part.sums_row = apart * w.sums_row;
      dispatch_int<1, kMost>((i + 1) * count / tiles - begin, [&](auto tap_rows) {
        depthwise_windows<tap_rows.value, kTaps, kStep>(part);
      });
    }
  }
}

template <int kStep, class S>
void run_windows_of_taps(const DepthwiseWindows<S>& w, const Axis& axis, const AxisPhase& rows,
                         int64_t taps) {
  if (taps == 3) return run_windows<3, kStep>(w, axis, rows);
  if (taps == 5) return run_windows<5, kStep>(w, axis, rows);
  return run_windows<7, kStep>(w, axis, rows);
}

// Tap rows in the padding are skipped: there grad is multiplied by zero, which matters where it is
// not finite.
template <class S>
void add_windows_in_padding(const DepthwiseWindows<S>& w, const AxisPhase& rows, int64_t taps) {
  using V = Simd<Compute<S>>;
  for (int64_t p = w.row_begin; p < w.row_end; ++p) {
    const int64_t first = rows.src_first + p * w.row_step,
                  last = first + (rows.taps - 1) * rows.src_delta;
    if (first >= 0 && last < w.height) continue;
    typename V::Vec sum[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
    const S* grad = w.grad + p * w.grad_row;
    int64_t q = 0;
    for (; q + 4 <= w.columns; q += 4) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i, grad += w.grad_pixel) {
        sum[i] = V::fma(V::load(grad), V::zero(), sum[i]);
      }
    }
    for (; q < w.columns; ++q, grad += w.grad_pixel) {
      sum[0] = V::fma(V::load(grad), V::zero(), sum[0]);
    }
    const auto all = V::add(V::add(sum[0], sum[1]), V::add(sum[2], sum[3]));
    for (int64_t r = 0; r < rows.taps; ++r) {
      const int64_t y = first + r * rows.src_delta;
      if (y >= 0 && y < w.height) continue;
      for (int64_t s = 0; s < taps; ++s) {
        Compute<S>* const at = w.sums + r * w.sums_row + s * w.sums_tap;
        V::store(at, V::add(V::load(at), all));
      }
    }
  }
}

}  // namespace
}  // namespace torchconv::cpu

// The inner loops of depthwise: a register tile of destination rows x vectors, each element one
// chain of fused multiply-adds over the taps in the order (plane, r, s). A vector holds pixels of a
// row, and the weight of a tap is broadcast, or it holds channels of a pixel, and so does the
// weight.
//
// A load costs as much as a multiply-add, so a loaded vector serves as many of them as it can:
// where neighbouring destination rows see the same source rows, the tile slides down the source and
// a source row serves every tile row that it is a tap of. The tile's size enters no sum.
#pragma once

#include "cpu/common/arithmetic.h"
#include "cpu/common/cost_model.h"
#include "cpu/common/dispatch.h"
#include "cpu/common/register_tile.h"

namespace torchconv::cpu {
namespace {

template <class T>
struct DepthwiseTile {
  const T* x;             // source of the first vector of tile row 0, tap row 0
  int64_t x_tap;          // elements from one tap row to the next
  int64_t x_row;          // from one tile row to the next, where that is not x_tap
  int64_t x_step;         // from one vector to the next
  int64_t x_column;       // from one tap of a row to the next, tiles that slide
  const int64_t* offset;  // of the taps of one row, tiles that stand
  const T* w;
  int64_t w_row, w_step;
  int64_t planes, x_plane, w_plane;
  int64_t out_plane;   // strips
  int64_t taps;        // kernel rows
  int64_t begin, end;  // source rows slid over; tap rows of tiles that stand
  const int64_t*
      repeated;  // from x to each source row slid over, strips where padding repeats some
  int64_t tap_begin, tap_end;  // taps of a row
  T* out;
  int64_t out_row, out_step;
  int64_t count, count_step;  // elements of vector v to store: at most count - v * count_step
  const T* bias;              // or null
  bool fetches;               // rows ahead of those that it sums: the first strip of a plane
  bool past_caches;           // go whole cache lines of the result, strips
};

template <class T, bool kBroadcast>
inline typename Simd<T>::Vec load_weight(const T* w) {
  return kBroadcast ? Simd<T>::broadcast(*w) : Simd<T>::load(w);
}

template <class T, int kRows, int kVecs>
[[gnu::always_inline]] inline void zero_tile(typename Simd<T>::Vec (&sum)[kRows][kVecs]) {
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
    for (int i = 0; i < kVecs; ++i) sum[m][i] = Simd<T>::zero();
  }
}

template <class T, bool kBroadcast, int kRows, int kVecs>
[[gnu::always_inline]] inline void store_tile(const DepthwiseTile<T>& t,
                                              typename Simd<T>::Vec (&sum)[kRows][kVecs]) {
  using V = Simd<T>;
  const auto bias =
      t.bias ? without_sign_of_zero<V>(load_weight<T, kBroadcast>(t.bias)) : V::zero();
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
    for (int i = 0; i < kVecs; ++i) sum[m][i] = V::add(sum[m][i], bias);
  }
  T* out = t.out;
  const int64_t row = t.out_row, step = t.out_step, count = t.count, count_step = t.count_step;
  if (count - (kVecs - 1) * count_step >= V::kLanes) {
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m, out += row) {
#pragma GCC unroll 8
      for (int i = 0; i < kVecs; ++i) V::store(out + i * step, sum[m][i]);
    }
    return;
  }
#pragma GCC unroll 8
  for (int i = 0; i < kVecs; ++i, out += step) {
    const int64_t valid = smaller(V::kLanes, count - i * count_step);
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) V::store_first(out + m * row, sum[m][i], valid);
  }
}

// One source row for the tile rows [kFrom, kTo] that it is a tap row of; w: its weights for tile
// row kFrom.
template <class T, bool kBroadcast, int kFrom, int kTo, int kRows, int kVecs>
[[gnu::always_inline]] inline void tile_source_row(const DepthwiseTile<T>& t, const T* x,
                                                   const T* w,
                                                   typename Simd<T>::Vec (&sum)[kRows][kVecs]) {
  using V = Simd<T>;
  const int64_t x_step = t.x_step, w_row = t.w_row, x_column = t.x_column, w_step = t.w_step;
  for (int64_t s = t.tap_end - t.tap_begin; s > 0; --s, x += x_column, w += w_step) {
    typename V::Vec v[kVecs];
#pragma GCC unroll 8
    for (int i = 0; i < kVecs; ++i) v[i] = V::held(V::load(x + i * x_step));
#pragma GCC unroll 8
    for (int m = kFrom; m <= kTo; ++m) {
      const auto weight = load_weight<T, kBroadcast>(w - (m - kFrom) * w_row);
#pragma GCC unroll 8
      for (int i = 0; i < kVecs; ++i) sum[m][i] = V::fma(weight, v[i], sum[m][i]);
    }
  }
}

// Source row y is tap row y - m of tile row m.
template <class T, bool kBroadcast, int kFrom, int kTo, int kRows, int kVecs>
[[gnu::always_inline]] inline void tile_any_row(const DepthwiseTile<T>& t, int64_t from, int64_t to,
                                                const T* x, const T* w,
                                                typename Simd<T>::Vec (&sum)[kRows][kVecs]) {
  if (from == kFrom && to == kTo) {
    return tile_source_row<T, kBroadcast, kFrom, kTo>(t, x, w - kFrom * t.w_row, sum);
  }
  if constexpr (kFrom < kTo) {
    return tile_any_row<T, kBroadcast, kFrom, kTo - 1>(t, from, to, x, w, sum);
  } else if constexpr (kFrom + 1 < kRows) {
    return tile_any_row<T, kBroadcast, kFrom + 1, kRows - 1>(t, from, to, x, w, sum);
  }
}

// Slides down the source.
template <class T, bool kBroadcast, int kRows, int kVecs>
[[gnu::noinline]] void sliding_tile(const DepthwiseTile<T>& t) {
  typename Simd<T>::Vec sum[kRows][kVecs];
  zero_tile<T>(sum);
  const T* x = t.x + t.tap_begin * t.x_column;
  const T* w = t.w + t.tap_begin * t.w_step;
  for (int64_t plane = 0; plane < t.planes; ++plane, x += t.x_plane, w += t.w_plane) {
    for (int64_t y = t.begin; y < t.end; ++y) {
      const int64_t from = y < t.taps ? 0 : y - t.taps + 1, to = y < kRows ? y : kRows - 1;
      tile_any_row<T, kBroadcast, 0, kRows - 1>(t, from, to, x + y * t.x_tap, w + y * t.w_row, sum);
    }
  }
  store_tile<T, kBroadcast>(t, sum);
}

// Loads for every tap of every tile row: any stride.
template <class T, bool kBroadcast, int kRows, int kVecs>
[[gnu::noinline]] void standing_tile(const DepthwiseTile<T>& t) {
  using V = Simd<T>;
  typename V::Vec sum[kRows][kVecs];
  zero_tile<T>(sum);
  const int64_t x_row = t.x_row, x_step = t.x_step;
  for (int64_t r = t.begin; r < t.end; ++r) {
    const T* const x = t.x + r * t.x_tap;
    const T* const w = t.w + r * t.w_row;
    for (int64_t s = t.tap_begin; s < t.tap_end; ++s) {
      const T* at = x + t.offset[s];
      const auto weight = load_weight<T, kBroadcast>(w + s * t.w_step);
#pragma GCC unroll 8
      for (int m = 0; m < kRows; ++m, at += x_row) {
#pragma GCC unroll 8
        for (int i = 0; i < kVecs; ++i)
          sum[m][i] = V::fma(weight, V::load(at + i * x_step), sum[m][i]);
      }
    }
  }
  store_tile<T, kBroadcast>(t, sum);
}

// A compiler keeps vectors that are structs in memory: large tiles of them would only be large
// code.
template <class T>
constexpr bool kLargeTiles = !std::is_class_v<typename Simd<T>::Vec>;

template <class T>
constexpr int kDepthwiseVecs = !kLargeTiles<T>             ? 1
                               : Simd<T>::kRegisters == 32 ? 4
                                                           : 2;
template <class T>
constexpr int kTileRowsOf = kLargeTiles<T> ? cost::kDepthwiseRows : 2;

template <class T, bool kBroadcast, int kRows, int kVecs>
void depthwise_tile_of(const DepthwiseTile<T>& t, bool slides, int64_t vecs) {
  if constexpr (kVecs > 1) {
    if (vecs != kVecs) {
      return depthwise_tile_of<T, kBroadcast, kRows, kBroadcast ? kVecs / 2 : 1>(t, slides, vecs);
    }
  }
  if (slides) return sliding_tile<T, kBroadcast, kRows, kVecs>(t);
  standing_tile<T, kBroadcast, kRows, kVecs>(t);
}

// rows <= kTileRowsOf<T>; vecs is kDepthwiseVecs<T>, or one, or (broadcast) a power of two below.
template <class T, bool kBroadcast>
void run_depthwise_tile(const DepthwiseTile<T>& t, bool slides, int64_t rows, int64_t vecs) {
  dispatch_int<1, kTileRowsOf<T>>(rows, [&](auto count) {
    depthwise_tile_of<T, kBroadcast, count.value, kDepthwiseVecs<T>>(t, slides, vecs);
  });
}

}  // namespace
}  // namespace torchconv::cpu

// The inner loop of depthwise: a register tile of destination rows x vectors, each element one chain of
// fused multiply-adds over the taps in the order (plane, r, s). A vector holds pixels of a row, and the
// weight of a tap is broadcast, or it holds channels of a pixel, and so does the weight.
//
// Where neighbouring destination rows see the same source rows, the tile walks down the source: a vector is
// loaded once and serves every row that it is a tap of. The tile's size enters no sum. Included inside the
// namespace of each isa_*.cpp.
#pragma once

template <class T>
struct DepthwiseTile {
  const T* x;             // source of the first vector of tile row 0, tap row 0
  int64_t x_tap;          // elements from one tap row to the next
  int64_t x_row;          // from one tile row to the next, where that is not x_tap
  int64_t x_step;         // from one vector to the next
  const int64_t* offset;  // of the taps of one row
  const T* w;
  int64_t w_row, w_step;
  int64_t planes, x_plane, w_plane;
  int64_t taps;           // kernel rows
  int64_t begin, end;     // source rows walked; tap rows where rows share nothing
  int64_t tap_begin, tap_end;  // taps of a row
  T* out;
  int64_t out_row, out_step;
  int64_t count, count_step;   // elements of vector v to store: at most count - v * count_step
  const T* bias;               // or null
};

template <class T, bool kBroadcast>
inline typename Simd<T>::Vec load_weight(const T* w) {
  return kBroadcast ? Simd<T>::broadcast(*w) : Simd<T>::load(w);
}

// One source row for the tile rows [kFrom, kTo] that it is a tap row of; w: its weights for tile row 0.
template <class T, bool kBroadcast, int kFrom, int kTo, int kRows, int kVecs>
[[gnu::always_inline]] inline void tile_source_row(const DepthwiseTile<T>& t, const T* x, const T* w,
                                                   typename Simd<T>::Vec (&sum)[kRows][kVecs]) {
  using S = Simd<T>;
  const int64_t x_step = t.x_step, w_row = t.w_row, w_step = t.w_step;
  w += t.tap_begin * w_step;
  for (const int64_t *offset = t.offset + t.tap_begin, *last = t.offset + t.tap_end; offset < last; ++offset) {
    const T* const at = x + *offset;
    typename S::Vec v[kVecs];
#pragma GCC unroll 8
    for (int i = 0; i < kVecs; ++i) v[i] = S::load(at + i * x_step);
#pragma GCC unroll 8
    for (int m = kFrom; m <= kTo; ++m) {
      const auto weight = load_weight<T, kBroadcast>(w - m * w_row);
#pragma GCC unroll 8
      for (int i = 0; i < kVecs; ++i) sum[m][i] = S::fma(weight, v[i], sum[m][i]);
    }
    w += w_step;
  }
}

// Source row y is tap row y - m of tile row m.
template <class T, bool kBroadcast, int kFrom, int kTo, int kRows, int kVecs>
[[gnu::always_inline]] inline void tile_any_row(const DepthwiseTile<T>& t, int64_t from, int64_t to,
                                                const T* x, const T* w,
                                                typename Simd<T>::Vec (&sum)[kRows][kVecs]) {
  if (from == kFrom && to == kTo) return tile_source_row<T, kBroadcast, kFrom, kTo>(t, x, w, sum);
  if constexpr (kFrom < kTo) {
    return tile_any_row<T, kBroadcast, kFrom, kTo - 1>(t, from, to, x, w, sum);
  } else if constexpr (kFrom + 1 < kRows) {
    return tile_any_row<T, kBroadcast, kFrom + 1, kRows - 1>(t, from, to, x, w, sum);
  }
}

template <class T, bool kBroadcast, bool kShared, int kRows, int kVecs>
[[gnu::noinline]] void depthwise_tile(const DepthwiseTile<T>& t) {
  using S = Simd<T>;
  typename S::Vec sum[kRows][kVecs];
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
    for (int i = 0; i < kVecs; ++i) sum[m][i] = S::zero();
  }
  const T *x = t.x, *w = t.w;
  for (int64_t plane = 0; plane < t.planes; ++plane, x += t.x_plane, w += t.w_plane) {
    for (int64_t y = t.begin; y < t.end; ++y) {
      const T* const row = x + y * t.x_tap;
      const T* const weights = w + y * t.w_row;
      if constexpr (kShared) {
        const int64_t from = y < t.taps ? 0 : y - t.taps + 1, to = y < kRows ? y : kRows - 1;
        tile_any_row<T, kBroadcast, 0, kRows - 1>(t, from, to, row, weights, sum);
      } else {
        for (int64_t s = t.tap_begin; s < t.tap_end; ++s) {
          const T* const at = row + t.offset[s];
          const auto weight = load_weight<T, kBroadcast>(weights + s * t.w_step);
#pragma GCC unroll 8
          for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
            for (int i = 0; i < kVecs; ++i) {
              sum[m][i] = S::fma(weight, S::load(at + m * t.x_row + i * t.x_step), sum[m][i]);
            }
          }
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kVecs; ++i) {
    const int64_t count = t.count - i * t.count_step;
    typename S::Vec bias = S::zero();
    if (t.bias) bias = kBroadcast ? S::broadcast(*t.bias) : S::load(t.bias);
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
      T* const out = t.out + m * t.out_row + i * t.out_step;
      const auto v = t.bias ? S::add(sum[m][i], bias) : sum[m][i];
      if (count >= S::kLanes) {
        S::store(out, v);
      } else {
        S::store_first(out, v, count);
      }
    }
  }
}

template <class T>
constexpr int kDepthwiseVecs = Simd<T>::kRegisters == 32 ? 4 : 2;

template <class T, bool kBroadcast, bool kShared, int kRows, int kVecs>
void depthwise_tile_of(const DepthwiseTile<T>& t, int64_t rows, int64_t vecs) {
  if (rows != kRows) {
    if constexpr (kRows > 1) depthwise_tile_of<T, kBroadcast, kShared, kRows - 1, kVecs>(t, rows, vecs);
  } else if (vecs != kVecs) {
    if constexpr (kVecs > 1) depthwise_tile_of<T, kBroadcast, kShared, kRows, kVecs - 1>(t, rows, vecs);
  } else {
    depthwise_tile<T, kBroadcast, kShared, kRows, kVecs>(t);
  }
}

// rows <= kDepthwiseRows, vecs <= kDepthwiseVecs
template <class T, bool kBroadcast>
void run_depthwise_tile(const DepthwiseTile<T>& t, bool shared, int64_t rows, int64_t vecs) {
  if (shared) return depthwise_tile_of<T, kBroadcast, true, kDepthwiseRows, kDepthwiseVecs<T>>(t, rows, vecs);
  depthwise_tile_of<T, kBroadcast, false, kDepthwiseRows, kDepthwiseVecs<T>>(t, rows, vecs);
}

// Depthwise with pixels in the lanes and a small kernel: a strip of a few vectors walks down a
// whole plane. It holds one sum per tap row and vector; a source row adds to all of them, the
// oldest is complete and leaves, the others move up. Each source vector is loaded once per tap
// column and nothing is computed twice. Included inside the namespace of each isa_*.cpp.
#pragma once

template <class T, int kTaps, int kVecs>
[[gnu::noinline]] void depthwise_strip(const DepthwiseTile<T>& t, int64_t rows) {
  using S = Simd<T>;
  constexpr int64_t kLanes = S::kLanes;
  typename S::Vec sum[kTaps][kVecs];
  zero_tile<T>(sum);
  const int64_t taps = t.tap_end, x_column = t.x_column;
  const bool whole = t.count >= kVecs * kLanes;
  const auto bias = t.bias ? S::broadcast(*t.bias) : S::zero();
  const T* x = t.x + t.begin * t.x_tap;
  T* out = t.out;
  // Source row y is tap row m of destination row y - m.
  for (int64_t y = 0; y < rows + kTaps - 1; ++y) {
    if (y >= t.begin && y < t.end) {
      const T *at = x, *w = t.w;
      for (int64_t s = taps; s > 0; --s, at += x_column, ++w) {
        typename S::Vec v[kVecs];
#pragma GCC unroll 8
        for (int i = 0; i < kVecs; ++i) v[i] = S::held(S::load(at + i * kLanes));
#pragma GCC unroll 8
        for (int m = 0; m < kTaps; ++m) {
          const auto weight = S::broadcast(w[m * kStripPitch]);
#pragma GCC unroll 8
          for (int i = 0; i < kVecs; ++i) sum[m][i] = S::fma(weight, v[i], sum[m][i]);
        }
      }
      x += t.x_tap;
    }
    if (y >= kTaps - 1) {
#pragma GCC unroll 8
      for (int i = 0; i < kVecs; ++i) {
        const auto v = t.bias ? S::add(sum[kTaps - 1][i], bias) : sum[kTaps - 1][i];
        if (whole || i < kVecs - 1) {
          S::store(out + i * kLanes, v);
        } else {
          S::store_first(out + i * kLanes, v, t.count - i * kLanes);
        }
      }
      out += t.out_row;
    }
#pragma GCC unroll 8
    for (int i = 0; i < kVecs; ++i) {
#pragma GCC unroll 8
      for (int m = kTaps - 1; m > 0; --m) sum[m][i] = sum[m - 1][i];
      sum[0][i] = S::zero();
    }
  }
}

// Sums, a source vector each, and a weight must fit the registers.
template <class T, int kTaps>
constexpr int kStripVecs =
    kDepthwiseVecs<T> * (kTaps + 1) + 1 <= Simd<T>::kRegisters ? kDepthwiseVecs<T>
                                                               : kDepthwiseVecs<T> / 2;

template <class T, int kTaps, int kVecs>
void depthwise_strip_of(const DepthwiseTile<T>& t, int64_t rows, int64_t vecs) {
  if (vecs == kVecs) return depthwise_strip<T, kTaps, kVecs>(t, rows);
  if constexpr (kVecs > 1) depthwise_strip_of<T, kTaps, kVecs - 1>(t, rows, vecs);
}

// Cuts the columns of t, t.count of them, into strips.
template <class T, int kTaps>
void run_depthwise_strips(const DepthwiseTile<T>& t, int64_t rows) {
  if (t.taps != kTaps) {
    if constexpr (kTaps > 1) run_depthwise_strips<T, kTaps - 1>(t, rows);
    return;
  }
  const int64_t vecs = ceil_div(t.count, Simd<T>::kLanes),
                strips = ceil_div(vecs, kStripVecs<T, kTaps>);
  for (int64_t i = 0; i < strips; ++i) {
    const int64_t v = i * vecs / strips, j = v * Simd<T>::kLanes;
    DepthwiseTile<T> part = t;
    part.x += j, part.out += j, part.count -= j;
    depthwise_strip_of<T, kTaps, kStripVecs<T, kTaps>>(part, rows, (i + 1) * vecs / strips - v);
  }
}

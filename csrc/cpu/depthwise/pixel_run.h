// The inner loop of small depthwise kernels with channels in the lanes: a run of up to eight pixels
// of one destination row, a vector of channels after the other. Within a tap row the weights stay
// in registers and a source vector is loaded once for all pixels that see it; every sum is one
// chain of fused multiply-adds in the order (plane, r, s). X is the type of the source and of the
// result: half types are widened by the load and rounded by the store.
#pragma once

#include "cpu/depthwise/runs.h"
#include "cpu/depthwise/tile.h"

namespace torchconv::cpu {
namespace {

constexpr int kRunPixels = 8;

template <class X>
constexpr int kRunLine = 64 / sizeof(Compute<X>);

template <class X>
struct DepthwiseRun {
  using T = Compute<X>;
  const X* x;               // column 0 of the columns that the run sees, tap row 0
  int64_t x_row, x_column;  // from one tap row and from one such column to the next
  int64_t begin, end;       // tap rows
  uint64_t inside;          // bit j: column j is read, others are padding
  int64_t taps;             // of a row
  // Where the run sees padding that repeats elements: from x to tap row r, and from its column 0 to column j;
  // else repeated_columns is null.
  const int64_t *repeated_rows, *repeated_columns;
  const T* w;  // blocks of [plane][r, s][64 bytes]
  // Or null: pairs of blocks, [r, s][2][64 bytes], the channels at even places before those at odd ones.
  const T* w_even_odd;
  int64_t w_row, w_tap, w_block;
  int64_t planes, x_plane, w_plane;
  int64_t channels;
  X* out;
  int64_t out_step;
  const T* bias;     // or null
  bool past_caches;  // go whole cache lines of the result
  struct Prefetch {
    const X* next;  // or null: column 0 of the rows that the run below reads and this one does not
    int64_t rows, row_pitch;
    int64_t ahead;  // from the pixels of this run to those whose cache lines are asked for
  } fetch;
};

// A run takes whole cache lines of channels where the registers suffice, so that none is written in
// two parts.
template <class X, int kTaps, int kPerLine = kRunLine<X> / Simd<Compute<X>>::kLanes>
constexpr int kRunVecs =
    (kTaps + kRunPixels / kPerLine) * kPerLine + 1 <= Simd<Compute<X>>::kRegisters ? kPerLine : 1;

// Which tap of pixel i column j is, if any: pixel i sees the columns i * step + [0, taps).
template <int taps, int step, int pixels>
struct GatherReach {
  static constexpr int kTaps = taps, kPixels = pixels;
  static constexpr int kColumns = (pixels - 1) * step + taps, kNewColumns = pixels * step;
  static constexpr bool kRepeats = true;  // padding may repeat elements
  static constexpr bool kParts = false;   // these are some of the taps
  static constexpr int tap(int i, int j) { return j - i * step; }
  static constexpr bool seen(int j) { return j % step < taps; }
  static constexpr int64_t columns(int64_t) { return kColumns; }
};

// A row of any number of taps, in parts.
template <int step, int pixels>
struct PartsReach : GatherReach<kPartTaps, step, pixels> {
  static constexpr bool kParts = true;
  template <int taps>
  using Part = GatherReach<taps, step, pixels>;
  static constexpr int64_t columns(int64_t all_taps) { return (pixels - 1) * step + all_taps; }
};

// The input gradient of stride two: pixel i sees the columns (first + i - tap) / 2 that are whole.
// They are looked at from the last one down, which is the order of the taps.
template <int taps, int first, int pixels>
struct SpreadReach {
  static constexpr int kTaps = taps, kPixels = pixels;
  static constexpr int kLast = (first + pixels - 1) / 2, kLowest = (first - taps + 1) / 2;
  static constexpr int kColumns = kLast - kLowest + 1, kNewColumns = pixels / 2;
  static constexpr bool kRepeats = false, kParts = false;
  static constexpr int tap(int i, int j) { return first + i - 2 * (kLast - j); }
  static constexpr bool seen(int) { return true; }
  static constexpr int64_t columns(int64_t) { return kColumns; }
};

// What a run has to mind: nothing, columns that are padding, rows and columns that it repeats, or also that a pixel has
// fewer channels than the vectors have lanes.
enum class RunEdges { kNone, kColumns, kRepeated, kLanes };

// Vector v of a pixel that has so many channels from x on.
template <class X, RunEdges kEdges>
auto load_channels(const X* x, int v, int64_t channels) {
  using V = Simd<Compute<X>>;
  if constexpr (kEdges != RunEdges::kLanes) return V::load(x + v * V::kLanes);
  return V::load_first(x + v * V::kLanes, larger(0, smaller(V::kLanes, channels - v * V::kLanes)));
}

// Both vectors of a pair of blocks.
template <class X, RunEdges kEdges, bool kEvenOdd, int kVecs>
[[gnu::always_inline]] inline void load_pixel(const X* x, int64_t channels,
                                              typename Simd<Compute<X>>::Vec (&at)[kVecs]) {
  using V = Simd<Compute<X>>;
  if constexpr (kEvenOdd) {
    V::load_even_odd(x, at[0], at[1]);
  } else {
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) at[v] = load_channels<X, kEdges>(x, v, channels);
  }
}

template <class X, class Reach, RunEdges kEdges, bool kEvenOdd, int kVecs>
[[gnu::always_inline]] inline void run_tap_row(
    const X* x, int64_t x_column, int64_t channels, uint64_t inside, const int64_t* repeated,
    const Compute<X>* w, int64_t w_tap,
    typename Simd<Compute<X>>::Vec (&sum)[Reach::kPixels][kVecs]) {
  using T = Compute<X>;
  using V = Simd<T>;
  constexpr int kTaps = Reach::kTaps;
  const X* const first = x;
  typename V::Vec weight[kTaps][kVecs];
#pragma GCC unroll 8
  for (int s = 0; s < kTaps; ++s) {
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) weight[s][v] = V::held(V::load(w + s * w_tap + v * V::kLanes));
  }
#pragma GCC unroll 32
  for (int j = 0; j < Reach::kColumns; ++j, x += x_column) {
    const bool tested = kEdges == RunEdges::kColumns || (kEdges == RunEdges::kLanes && !repeated);
    if (!Reach::seen(j) || (tested && !(inside >> j & 1))) continue;
    const bool looked_up =
        kEdges == RunEdges::kRepeated || (kEdges == RunEdges::kLanes && repeated);
    const X* const from = looked_up ? first + repeated[j] : x;
    typename V::Vec at[kVecs];
    load_pixel<X, kEdges, kEvenOdd>(from, channels, at);
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) {
      at[v] = V::held(at[v]);
#pragma GCC unroll 8
      for (int i = 0; i < Reach::kPixels; ++i) {
        const int s = Reach::tap(i, j);
        if (s >= 0 && s < kTaps) sum[i][v] = V::fma(weight[s][v], at[v], sum[i][v]);
      }
    }
  }
}

// A row of so many taps, part by part.
template <class X, class Reach, RunEdges kEdges, int kVecs>
[[gnu::always_inline]] inline void run_parts(
    const X* x, int64_t x_column, int64_t channels, uint64_t inside, const int64_t* repeated,
    int64_t taps, const Compute<X>* w, int64_t w_tap,
    typename Simd<Compute<X>>::Vec (&sum)[Reach::kPixels][kVecs]) {
  const auto run = [&](auto part) {
    constexpr int kTaps = decltype(part)::value;
    run_tap_row<X, typename Reach::template Part<kTaps>, kEdges, false>(
        x, x_column, channels, inside, repeated, w, w_tap, sum);
    w += kTaps * w_tap, inside >>= kTaps;
    repeated ? (void)(repeated += kTaps) : (void)(x += kTaps * x_column);
  };
  int64_t rest = taps;
  for (; rest >= kPartTaps; rest -= kPartTaps) run(std::integral_constant<int, kPartTaps>());
  if (rest & 2) run(std::integral_constant<int, 2>());
  if (rest & 1) run(std::integral_constant<int, 1>());
}

// Stores a pair of blocks of each pixel. A sum of all is NaN where one of them is.
template <class X, class V, int kPixels>
[[gnu::always_inline]] inline void store_even_odd(X* out, int64_t out_step, const Compute<X>* bias,
                                                  typename V::Vec (&sum)[kPixels][2]) {
  auto even = V::zero(), odd = V::zero(), all = V::zero();
  if (bias) {
    even = without_sign_of_zero<V>(V::load(bias));
    odd = without_sign_of_zero<V>(V::load(bias + V::kLanes));
    V::deinterleave(even, odd);
  }
#pragma GCC unroll 8
  for (int i = 0; i < kPixels; ++i) {
    sum[i][0] = V::add(sum[i][0], even), sum[i][1] = V::add(sum[i][1], odd);
    all = V::add(all, V::add(sum[i][0], sum[i][1]));
    V::store_even_odd(out + i * out_step, sum[i][0], sum[i][1]);
  }
  if (!V::any_nan(all)) return;
  for (int i = 0; i < kPixels; ++i) {
    V::store_even_odd(out + i * out_step, V::with_quiet_nan(sum[i][0]),
                      V::with_quiet_nan(sum[i][1]));
  }
}

// The channels [begin, end).
template <class X, class Reach, RunEdges kEdges, bool kEvenOdd = false>
[[gnu::noinline]] void depthwise_run_of(const DepthwiseRun<X>& t, int64_t begin, int64_t end) {
  using T = Compute<X>;
  using V = Simd<T>;
  constexpr int kPixels = Reach::kPixels, kVecs = kEvenOdd ? 2 : kRunVecs<X, Reach::kTaps>;
  constexpr int64_t kBlocks = kEvenOdd ? 2 : 1, kLine = kBlocks * kRunLine<X>;
  constexpr int64_t kFetched = 64 / sizeof(X);
  constexpr bool kLines = std::is_same_v<X, T> && kVecs * V::kLanes == kLaneBlock<T>;
  const int64_t x_column = t.x_column, out_step = t.out_step, w_tap = kBlocks * t.w_tap;
  const int64_t x_row = t.x_row, w_row = kBlocks * t.w_row, rows = t.end - t.begin;
  const T* const weights = kEvenOdd ? t.w_even_odd : t.w;
  for (int64_t c = begin; c < end; c += kLine) {
    if (t.fetch.next && c % kFetched == 0) {
      if (!(kLines && t.past_caches)) {
#pragma GCC unroll 8
        for (int i = 0; i < kPixels; ++i)
          __builtin_prefetch(t.out + c + i * out_step + t.fetch.ahead, 1, 3);
      }
      for (int64_t r = 0; r < t.fetch.rows; ++r) {
#pragma GCC unroll 16
        for (int j = 0; j < Reach::kNewColumns; ++j)
          __builtin_prefetch(t.fetch.next + c + r * t.fetch.row_pitch + j * x_column, 0, 2);
      }
    }
    const int64_t lanes = smaller(kLine, end - c);
    for (int64_t l = 0; l < lanes; l += kVecs * V::kLanes) {
      typename V::Vec sum[kPixels][kVecs];
      zero_tile<T>(sum);
      const X* x_plane = t.x + t.begin * x_row + c + l;
      const T* w_plane = weights + t.begin * w_row + c / kLine * kBlocks * t.w_block + l;
      for (int64_t plane = t.planes; plane > 0; --plane) {
        const X* x = x_plane;
        const T* w = w_plane;
        for (int64_t r = 0; r < rows; ++r, x += x_row, w += w_row) {
          const bool looked_up =
              kEdges == RunEdges::kRepeated || (kEdges == RunEdges::kLanes && t.repeated_columns);
          const X* const row = looked_up ? x_plane + t.repeated_rows[r] : x;
          if constexpr (Reach::kParts) {
            run_parts<X, Reach, kEdges>(row, x_column, lanes - l, t.inside, t.repeated_columns,
                                        t.taps, w, w_tap, sum);
          } else {
            run_tap_row<X, Reach, kEdges, kEvenOdd>(row, x_column, lanes - l, t.inside,
                                                    t.repeated_columns, w, w_tap, sum);
          }
        }
        x_plane += t.x_plane, w_plane += t.w_plane;
      }
      if constexpr (kEvenOdd) {
        store_even_odd<X, V>(t.out + c, out_step, t.bias ? t.bias + c : nullptr, sum);
        continue;
      }
#pragma GCC unroll 2
      for (int v = 0; v < kVecs; ++v) {
        const int64_t lane = l + v * V::kLanes;
        const auto bias = t.bias && lane < lanes
                              ? without_sign_of_zero<V>(V::load(t.bias + c + lane))
                              : V::zero();
#pragma GCC unroll 8
        for (int i = 0; i < kPixels; ++i) sum[i][v] = V::add(sum[i][v], bias);
      }
      if constexpr (kLines) {
        if (t.past_caches) {
#pragma GCC unroll 8
          for (int i = 0; i < kPixels; ++i) {
#pragma GCC unroll 2
            for (int v = 0; v < kVecs; ++v)
              V::stream(t.out + c + i * out_step + v * V::kLanes, sum[i][v]);
          }
          continue;
        }
      }
#pragma GCC unroll 2
      for (int v = 0; v < kVecs; ++v) {
        const int64_t lane = l + v * V::kLanes, rest = lanes - lane;
        X* const out = t.out + c + lane;
        if (rest >= V::kLanes) {
#pragma GCC unroll 8
          for (int i = 0; i < kPixels; ++i) V::store(out + i * out_step, sum[i][v]);
        } else if (rest > 0) {
#pragma GCC unroll 8
          for (int i = 0; i < kPixels; ++i) V::store_first(out + i * out_step, sum[i][v], rest);
        }
      }
    }
  }
}

}  // namespace
}  // namespace torchconv::cpu

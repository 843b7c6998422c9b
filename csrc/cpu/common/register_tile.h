// The inner loop of every dense kernel: a register tile of sums
//
//     sum over i of a(i, m) * b(i, j),   m < rows, j < columns
//
// each a sum of partial sums, which are chains of fused multiply-adds in the order of the steps. They are added
// up in c, one after the other, so that the rounding error grows with the length of a partial sum and not with
// that of the whole (sum_order.h). a is broadcast and b is read as vectors along j. Operands are found through
// tables of offsets, which is how taps, padding patches and strides are walked without copying:
//
//     Steps::kTableA    a(i, m) = a[offset[i] + m * a_row]    b(i, j) = b[i * step + j]
//     Steps::kTableB    a(i, m) = a[i * step + m]             b(i, j) = b[offset[i] + j]
//     Steps::kTables    a(i, m) = a[offset[i] + m * a_row]    b(i, j) = b[b_offset[i] + j]
//
// Matrices need no tables. Where vectors are real ones (kMatrixTiles) their tiles have four steps an iteration: beside a
// busy thread of the same core the time goes by instructions, of which these have a fifth less with AVX2 (Zen 3) and a
// seventh with AVX-512 (Sapphire Rapids). Elsewhere their steps are those of kTableA and kTables.
//
//     Steps::kMatrix      a(i, m) = a[i + m * a_row]     b(i, j) = b[i * step + j]
//     Steps::kTransposed  a(i, m) = a[i * a_step + m]    b(i, j) = b[i * step + j]
//
// With AVX-512 a tile of one vector has a load for each multiply-add, which is one instruction only where its address is
// a register and a constant. Such tiles have a pointer for each row, or rows that are neighbours:
//
//     Steps::kRuns        kTableA of runs of offsets that follow each other; step = the tile's width
//     Steps::kNeighbours  kTableA, a_row = 1
//
// The tile's size enters no sum and differs from level to level: 6x64 or 8x48 floats for AVX-512, 6x16 for AVX2.
#pragma once

#include "cpu/common/beyond_caches.h"
#include "cpu/common/element.h"
#include "cpu/common/tile_operands.h"
#include "cpu/simd/simd.h"

namespace torchconv::cpu {
namespace {

// -0 becomes +0, to which the first partial sum is added for that reason: a product too small for a float leaves
// -0 behind, a tap of padding that is multiplied turns it into +0 and one that is left out does not, and which are
// left out may depend on the batch and on the level.
template <class V>
inline typename V::Vec without_sign_of_zero(typename V::Vec sum) {
  return V::add(sum, V::zero());
}

// Where a tile will store its sums: lines that have left the caches come back while it is summed.
template <int kRows, int kVecs, int64_t kLanes, class T>
inline void prefetch_sums(T* sums, int64_t row) {
  constexpr int kOfLine = larger(1, 64 / (int64_t)sizeof(T) / kLanes);  // vectors
#pragma GCC unroll 32
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
    for (int v = 0; v < kVecs; v += kOfLine) __builtin_prefetch(sums + m * row + v * kLanes, 1);
  }
}

// Whether matrices have tiles of their own.
template <class T>
constexpr bool kMatrixTiles = !std::is_same_v<T, Pair> && !std::is_class_v<typename Simd<T>::Vec>;

// Whether tiles are small ones of vectors: then with tables, too, four steps are an iteration of their loops.
template <class T>
constexpr bool kSmallTiles = Simd<T>::kRegisters < 32 && kMatrixTiles<T>;

// Whether tiles along b can fetch lanes that come later.
template <class T, Steps kSteps>
constexpr bool kFetchesAlongB = kSteps == Steps::kTableB && kSmallTiles<T>;

// Whether a tile has whole cache lines of a result, if its first sum is the first of one.
template <class T, Steps kSteps, int kVecs, bool kHalf>
constexpr bool kHasLines = kSteps != Steps::kTables && !std::is_same_v<T, Pair> && !kHalf &&
                           kVecs * Simd<T>::kLanes % kLaneBlock<T> == 0;

// Several tiles, along j with kTableB, else along m: the end of one overlaps with the beginning of the
// next, which a tile of few steps needs. kHalf: the last of the vectors is half of one.
template <class T, Steps kSteps, int kRows, int kVecs, bool kHalf>
[[gnu::noinline]] void tile_kernel(const Tile<T>& t, const Tiles& tiles, Ahead<T> ahead) {
  using V = Simd<T>;
  using H = std::conditional_t<kHalf, typename HalfOf<V>::type, V>;
  constexpr int kWhole = kHalf ? kVecs - 1 : kVecs;
  constexpr bool kAlongB = kSteps == Steps::kTableB;
  constexpr int64_t kLanes = V::kLanes, kWidth = kVecs * kLanes;
  const int64_t step = t.step, a_step = t.a_step, row1 = t.a_row, c_row = t.c_row;
  const int64_t row3 = row1 * 3, row5 = row1 * 5, row7 = row1 * 7;
  const T* a = t.a;
  const T* b = t.b;
  const Compute<T>* row_bias = t.row_bias;
  Compute<T>* c = t.c;
  RoundedResult<T> result = t;

  for (int64_t tile = tiles.count; tile > 0; --tile) {
    const int64_t *offset = t.offset, *b_offset = t.b_offset;
    const T *ai = a, *along = kAlongB ? a : b;
    bool start = t.sum != Sum::kAdd;
    if constexpr (std::is_same_v<T, Pair> && kSteps == Steps::kTableA) {
      if (result.rounded)
        prefetch_sums<kRows, kVecs, kLanes>(result.rounded, result.rounded_row);
      else if (start)
        prefetch_sums<kRows, kVecs, kLanes>(c, c_row);
    } else if constexpr (kSteps != Steps::kTables) {
      if (t.sum == Sum::kStart) prefetch_sums<kRows, kVecs, kLanes>(c, c_row);
    }
    if constexpr (!kAlongB) {
      prefetch_span(ahead.data, kRows * ahead.row);
      ahead = ahead.after(kRows);
    }
    for (int64_t partial = t.partials.count; partial > 0; --partial) {
      const TapBox& taps = partial == 1 ? t.partials.last : t.partials.each;
      typename V::Vec sum[kRows][kWhole + 1];
      typename H::Vec half[kRows];
#pragma GCC unroll 32
      for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
        for (int v = 0; v < kWhole; ++v) sum[m][v] = V::zero();
        half[m] = H::zero();
      }
      // One step, `a_of(m)`: where the operand of row m is.
      const auto add_step = [&](const auto& a_of, const T* bi) __attribute__((always_inline)) {
        typename V::Vec x[kWhole + 1];
        typename H::Vec half_x = H::zero();
#pragma GCC unroll 8
        for (int v = 0; v < kWhole; ++v) x[v] = V::load(bi + v * kLanes);
        if constexpr (kHalf) half_x = H::load(bi + kWhole * kLanes);
#pragma GCC unroll 32
        for (int m = 0; m < kRows; ++m) {
          if constexpr (kWhole == 0) {
            half[m] = H::fma(H::broadcast(*a_of(m)), half_x, half[m]);
          } else {
            const typename V::Vec y = V::broadcast(*a_of(m));
#pragma GCC unroll 8
            for (int v = 0; v < kWhole; ++v) sum[m][v] = V::fma(y, x[v], sum[m][v]);
            if constexpr (kHalf) half[m] = H::fma(H::of(y), half_x, half[m]);
          }
        }
      };
      [[maybe_unused]] const T* am[kRows];  // of row m
      const auto start_rows = [&](const T* first) __attribute__((always_inline)) {
#pragma GCC unroll 32
        for (int m = 0; m < kRows; ++m) am[m] = first + m * row1;
      };
      // `steps`, multiples of four, whose operands follow each other.
      const auto add_fours = [&](int64_t steps, int64_t step) __attribute__((always_inline)) {
        for (; steps >= 4; steps -= 4) {
#pragma GCC unroll 4
          for (int i = 0; i < 4; ++i, along += step)
            add_step([&](int m) __attribute__((always_inline)) { return am[m] + i; }, along);
#pragma GCC unroll 32
          for (int m = 0; m < kRows; ++m) am[m] += 4;
        }
      };
      if constexpr (kSteps == Steps::kMatrix && kVecs == 1) {
        const int64_t steps = taps.all_steps();
        start_rows(ai);
        ai += steps;
        add_fours(steps, step);
        for (int64_t i = 0; i < steps % 4; ++i, along += step)
          add_step([&](int m) __attribute__((always_inline)) { return am[m] + i; }, along);
      } else if constexpr (kSteps == Steps::kMatrix) {
        const int64_t steps = taps.all_steps();
        start_rows(ai);
#pragma GCC unroll 4
        for (int64_t i = 0; i < steps; ++i)
          add_step([&](int m) __attribute__((always_inline)) { return am[m] + i; },
                   along + i * step);
        ai += steps, along += steps * step;
      } else if constexpr (kSteps == Steps::kTransposed) {
        const int64_t steps = taps.all_steps();
#pragma GCC unroll 4
        for (int64_t i = 0; i < steps; ++i, ai += a_step, along += step)
          add_step([&](int m) __attribute__((always_inline)) { return ai + m; }, along);
      } else if constexpr (kSteps == Steps::kRuns) {
        start_rows(a);
        int64_t at = 0;  // where the rows are
        for (int64_t c_block = taps.c_blocks; c_block > 0; --c_block) {
          for (int64_t row = taps.rows; row > 0; --row) {
            for (const int64_t* const end = offset + taps.steps; offset < end; offset += t.run) {
              const int64_t by = *offset - at;
#pragma GCC unroll 32
              for (int m = 0; m < kRows; ++m) am[m] += by;
              at = *offset + t.run;
              add_fours(t.run, kWidth);
            }
            offset += taps.row_gap;
            along += taps.row_gap * kWidth;
          }
          offset += taps.block_gap;
          along += taps.block_gap * kWidth;
        }
      } else {
        for (int64_t c_block = taps.c_blocks; c_block > 0; --c_block) {
          for (int64_t row = taps.rows; row > 0; --row) {
            const int64_t steps = taps.steps;
            const auto table_step = [&](int64_t i) __attribute__((always_inline)) {
              const T* const ai = kAlongB ? along + i * step : a + offset[i];
              const T* const bi = kAlongB                    ? b + offset[i]
                                  : kSteps == Steps::kTables ? b + b_offset[i]
                                                             : along + i * step;
              if (kFetchesAlongB<T, kSteps> && ahead.row) {
#pragma GCC unroll 8
                for (int64_t v = 0; v < kWidth; v += kLaneBlock<T>)
                  __builtin_prefetch(bi + ahead.row + v);
              }
              // Spelled so that eight rows need four registers of addresses.
              const auto a_of = [&](int m) __attribute__((always_inline)) {
                if constexpr (kAlongB || kSteps == Steps::kNeighbours) return ai + m;
                const T* const a8 = m < 8 ? ai : ai + 8 * row1;
                return m % 8 == 3   ? a8 + row3
                       : m % 8 == 5 ? a8 + row5
                       : m % 8 == 6 ? a8 + 2 * row3
                       : m % 8 == 7 ? a8 + row7
                                    : a8 + m % 8 * row1;
              };
              add_step(a_of, bi);
            };
            if constexpr (kSmallTiles<T>) {
#pragma GCC unroll 4
              for (int64_t i = 0; i < steps; ++i) table_step(i);
            } else {
              for (int64_t i = 0; i < steps; ++i) table_step(i);
            }
            offset += steps + taps.row_gap;
            if constexpr (kSteps == Steps::kTables) b_offset += steps + taps.row_gap;
            along += (steps + taps.row_gap) * step;
          }
          offset += taps.block_gap;
          if constexpr (kSteps == Steps::kTables) b_offset += taps.block_gap;
          along += taps.block_gap * step;
        }
      }
      // f(vectors, sum, m, lane) for every vector of sums, V or H, of row m from `lane` on. What to do is decided
      // once for all: with branches between vectors a tile of eight steps took a fifth longer (Zen 4).
      const auto each = [&](const auto& f) __attribute__((always_inline)) {
#pragma GCC unroll 32
        for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
          for (int v = 0; v < kWhole; ++v) f(V(), sum[m][v], m, v * kLanes);
          if constexpr (kHalf) f(H(), half[m], m, kWhole * kLanes);
        }
      };
      if (start) {
        each([](auto w, auto& sum, int, int64_t)
                 __attribute__((always_inline)) { sum = w.add(w.zero(), sum); });
      } else {
        each([&](auto w, auto& sum, int m, int64_t lane) __attribute__((always_inline)) {
          sum = w.add(w.load(c + m * c_row + lane), sum);
        });
      }
      start = false;
      if (partial == 1) {
        if (const Compute<T>* const bias = t.lane_bias) {
          each([&](auto w, auto& sum, int, int64_t lane)
                   __attribute__((always_inline)) { sum = w.add(sum, w.load(bias + lane)); });
        }
        if (row_bias) {
          each([&](auto w, auto& sum, int m, int64_t)
                   __attribute__((always_inline)) { sum = w.add(sum, w.broadcast(row_bias[m])); });
        }
        if constexpr (!std::is_same_v<T, Pair> && !kAlongB && kSteps != Steps::kTables) {
          if (t.clamp != Clamp::kNone) {
            each([](auto w, auto& sum, int, int64_t)
                     __attribute__((always_inline)) { sum = w.max(w.zero(), sum); });
          }
          if (t.clamp == Clamp::kRelu6) {
            each([](auto w, auto& sum, int, int64_t)
                     __attribute__((always_inline)) { sum = w.min(w.broadcast(6), sum); });
          }
        }
        if constexpr (std::is_same_v<T, Pair> && kSteps == Steps::kTableA) {
          if (result.rounded) {
#pragma GCC unroll 32
            for (int m = 0; m < kRows; ++m) {
              BFloat16* const to = result.rounded + m * result.rounded_row;
#pragma GCC unroll 8
              for (int v = 0; v + 1 < kWhole; v += 2)
                V::store(to + v * kLanes, sum[m][v], sum[m][v + 1]);
              if constexpr (kWhole % 2) V::store(to + (kWhole - 1) * kLanes, sum[m][kWhole - 1]);
              if constexpr (kHalf) H::store(to + kWhole * kLanes, half[m]);
            }
            continue;
          }
        }
      }
      if constexpr (kHasLines<T, kSteps, kVecs, kHalf>) {
        if (t.sum == Sum::kStream) {
          each([&](auto w, auto& sum, int m, int64_t lane)
                   __attribute__((always_inline)) { w.stream(c + m * c_row + lane, sum); });
          continue;
        }
      }
      each([&](auto w, auto& sum, int m, int64_t lane)
               __attribute__((always_inline)) { w.store(c + m * c_row + lane, sum); });
    }
    result.skip(tiles.rounded);
    a += kAlongB ? 0 : tiles.a;
    b += kAlongB ? kWidth : kSteps == Steps::kTables ? tiles.b : 0;
    c += tiles.c;
    if (!kAlongB && row_bias) row_bias += kRows;
  }
}

}  // namespace
}  // namespace torchconv::cpu

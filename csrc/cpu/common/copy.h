// Copies that change the type or swap rows and columns: the heart of the load and the store stages. `In`
// is a pointer to elements, or a row of pairs (simd/pairs.h).
#pragma once

#include <cstddef>

#include "cpu/simd/pairs.h"
#include "cpu/simd/simd.h"

namespace torchconv::cpu {
namespace {

// What the elements of a row are computed in.
template <class In>
using OperandIn = Operand<typename ElementOf<In>::type>;

// out[i] = in[i] (+ bias[i])
template <class In, class Out>
void copy_span(In in, Out* out, int64_t count, const OperandIn<In>* bias = nullptr) {
  using V = Simd<OperandIn<In>>;
  int64_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) {
    const auto v = V::load(in + i);
    V::store(out + i, bias ? V::add(v, V::load(bias + i)) : v);
  }
  if (i < count) {
    const auto v = V::load_first(in + i, count - i);
    const auto sum = bias ? V::add(v, V::load_first(bias + i, count - i)) : v;
    V::store_first(out + i, sum, count - i);
  }
}

// One block of lanes.
template <class In>
inline void copy_block(In in, OperandIn<In>* out) {
  using V = Simd<OperandIn<In>>;
#pragma GCC unroll 16
  for (int64_t i = 0; i < kLaneBlock<OperandIn<In>>; i += V::kLanes)
    V::store(out + i, V::load(in + i));
}

template <class T>
void fill_zero(T* out, int64_t count) {
  __builtin_memset(out, 0, (size_t)count * sizeof(T));
}

template <class T>
void fill_zero_vectors(T* out, int64_t count) {
  using V = Simd<T>;
  for (int64_t i = 0; i < count; i += V::kLanes) {
    V::store_first(out + i, V::zero(), smaller(count - i, V::kLanes));
  }
}

// out[i * step] = in[i]
template <class T, class Out>
void store_strided(const T* in, Out* out, int64_t count, int64_t step) {
  if (step == 1) return copy_span(in, out, count);
  for (int64_t i = 0; i < count; ++i) from_compute(out + i * step, in[i]);
}

// `count` elements: out[2 * i] = even[i], out[2 * i + 1] = odd[i]
template <class T, class Out>
void store_alternating(const T* even, const T* odd, Out* out, int64_t count) {
  using V = Simd<T>;
  constexpr int64_t kLanes = V::kLanes;
  for (int64_t left = count; left > 0; left -= 2 * kLanes) {
    const bool whole = left >= 2 * kLanes;
    auto first = whole ? V::load(even) : V::load_first(even, (left + 1) / 2);
    auto second = whole ? V::load(odd) : V::load_first(odd, left / 2);
    V::interleave(first, second);
    if (left >= kLanes) {
      V::store(out, first);
    } else {
      V::store_first(out, first, left);
    }
    if (whole) {
      V::store(out + kLanes, second);
    } else if (left > kLanes) {
      V::store_first(out + kLanes, second, left - kLanes);
    }
    even += kLanes, odd += kLanes, out += 2 * kLanes;
  }
}

// out[i] = in[i * step]; touches nothing beyond the last of them.
template <class In>
void load_strided(In in, OperandIn<In>* out, int64_t count, int64_t step) {
  using V = Simd<OperandIn<In>>;
  constexpr int64_t kLanes = V::kLanes;
  if (step == 1) return copy_span(in, out, count);
  if (step == 2 && count > 0) {
    int64_t i = 0;
    if (count < kLanes) {
      const int64_t all = 2 * count - 1;
      auto even = V::load_first(in, smaller(all, kLanes));
      auto odd = V::load_first(in + smaller(all, kLanes), larger(0, all - kLanes));
      V::deinterleave(even, odd);
      return V::store_first(out, even, count);
    }
    const auto take_even = [&](auto odd) {
      auto even = V::load(in + 2 * i);
      V::deinterleave(even, odd);
      V::store(out + i, even);
    };
    for (; i + kLanes < count; i += kLanes) take_even(V::load(in + 2 * i + kLanes));
    // The last vector overlaps with the one before and ends with the last element.
    i = count - kLanes;
    return take_even(V::load_first(in + 2 * i + kLanes, kLanes - 1));
  }
  for (int64_t i = 0; i < count; ++i) out[i] = to_compute(in[i * step]);
}

template <class T>
bool all_finite(const T* x, int64_t count) {
  using V = Simd<T>;
  constexpr int64_t kLanes = V::kLanes;
  typename V::Vec sum[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
  int64_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) sum[v] = V::fma(V::load(x + i + v * kLanes), V::zero(), sum[v]);
  }
  for (; i < count; i += kLanes) {
    const auto v = count - i < kLanes ? V::load_first(x + i, count - i) : V::load(x + i);
    sum[0] = V::fma(v, V::zero(), sum[0]);
  }
  return !V::any_nan(V::add(V::add(sum[0], sum[1]), V::add(sum[2], sum[3])));
}

// column(j)[i] = in[i * in_stride + j] (+ bias[j]), i < rows <= lanes, first <= j < columns <= lanes. What is
// `ahead` elements further on in these rows is fetched.
template <class T, bool kWhole, class In, class Column>
inline void transpose_square(In in, int64_t in_stride, int64_t rows, int64_t first, int64_t columns,
                             const Column& column, const T* bias, int64_t ahead) {
  using V = Simd<T>;
  typename V::Vec m[V::kLanes];
// Unrolled, so that the square stays in registers.
#pragma GCC unroll 16
  for (int i = 0; i < V::kLanes; ++i) {
    const In from = in + i * in_stride;
    if (kWhole || (ahead && i < rows)) prefetch_row(from + ahead);
    m[i] = kWhole ? V::load(from) : i < rows ? V::load_first(from, columns) : V::zero();
  }
  V::transpose(m);
#pragma GCC unroll 16
  for (int j = 0; j < V::kLanes; ++j) {
    if (!kWhole && j >= columns) break;
    if (j < first) continue;
    if (bias) m[j] = V::add(m[j], V::broadcast(bias[j]));
    if constexpr (kWhole) {
      V::store(column(j), m[j]);
    } else {
      V::store_first(column(j), m[j], rows);
    }
  }
}

constexpr int64_t kTransposedSpan = 64;  // columns

// column(j)[i] = in[i * in_stride + j] (+ bias[j]), i < rows, j < columns
template <class In, class Out, class T, class Column>
inline void transpose_to(In in, int64_t in_stride, int64_t rows, int64_t columns,
                         const Column& column, const T* bias, int64_t ahead = 0) {
  constexpr int64_t kLanes = Simd<T>::kLanes, kSpan = kTransposedSpan;
  // Along a row first: that is `lanes` streams of memory. After a span of it the next rows, so that a
  // line of the result is still in the cache when its other half is written. The last square of a
  // side overlaps the one before it rather than being a partial one. `column` and its captures are
  // values: through a reference they would be read again after every store.
  for (int64_t span = 0; span < columns; span += kSpan) {
    const int64_t span_end = columns - span < kSpan ? columns : span + kSpan;
    for (int64_t up = 0; up < rows; up += kLanes) {
      const int64_t i = up + kLanes > rows && rows >= kLanes ? rows - kLanes : up;
      const int64_t height = rows - i < kLanes ? rows - i : kLanes;
      for (int64_t left = span; left < span_end; left += kLanes) {
        const int64_t j = left + kLanes > columns && columns >= kLanes ? columns - kLanes : left;
        const int64_t width = columns - j < kLanes ? columns - j : kLanes;
        const T* const bias_at = bias ? bias + j : nullptr;
        const In from = in + i * in_stride + j;
        const auto to = [=](int64_t k) -> Out* { return column(j + k) + i; };
        if (height == kLanes && width == kLanes) {
          transpose_square<T, true>(from, in_stride, height, left - j, width, to, bias_at, ahead);
        } else {
          transpose_square<T, false>(from, in_stride, height, left - j, width, to, bias_at, ahead);
        }
      }
    }
  }
}

// out[j * out_stride + i] = in[i * in_stride + j] (+ bias[j]), i < rows, j < columns
template <class In, class Out>
void transpose_copy(In in, int64_t in_stride, int64_t rows, int64_t columns, Out* out,
                    int64_t out_stride, const OperandIn<In>* bias = nullptr, int64_t ahead = 0) {
  const auto column = [=](int64_t j) { return out + j * out_stride; };
  transpose_to<In, Out, OperandIn<In>>(in, in_stride, rows, columns, column, bias, ahead);
}

}  // namespace
}  // namespace torchconv::cpu

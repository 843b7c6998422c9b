// Memory beyond the caches: what is read is asked for where no hardware prefetcher sees it coming, what is written
// goes past them where they would not hold it. Functions that only fetch must be inlined: GCC takes them for functions
// without an effect and leaves out calls of them.
#pragma once

#include <cstdint>

#include "cpu/common/cost_model.h"
#include "cpu/simd/simd.h"

namespace torchconv::cpu {
namespace {

// Into the L2 cache.
template <class T>
[[gnu::always_inline]] inline void prefetch_span(const T* from, int64_t count) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t i = 0; i < count; i += kLine) __builtin_prefetch(from + i, 0, 2);
}

// The cache lines that begin in a span, into the L1 cache: spans that follow each other ask for each line once.
template <bool kWritten, class T>
[[gnu::always_inline]] inline void prefetch_lines(const T* from, int64_t count) {
  const char* const end = (const char*)(from + count);
  const int64_t past = -(int64_t)((uintptr_t)from % 64) & 63;
  for (const char* line = (const char*)from + past; line < end; line += 64)
    __builtin_prefetch(line, kWritten, 3);
}

// `rows` spans that are `stride` elements apart.
template <class T>
[[gnu::always_inline]] inline void prefetch_rows(const T* from, int64_t stride, int64_t rows,
                                                 int64_t count) {
  for (int64_t i = 0; i < rows; ++i) prefetch_span(from + i * stride, count);
}

template <class T>
bool begins_line(const T* p) {
  return (uintptr_t)p % 64 == 0;
}

// Whether a result of so many elements is stored past the caches where that is done once, whole cache lines at a time:
// they are not read before they are written. `avx2_bytes`: how large it is at least with vectors of that level.
template <class S>
bool goes_past_caches(const S* result, int64_t elements,
                      int64_t avx2_bytes = cost::kStreamedBytesAvx2) {
  if constexpr (std::is_same_v<S, Compute<S>>) {
    using V = Simd<S>;
    const int64_t least = V::kRegisters == 32 ? cost::kStreamedBytes : avx2_bytes;
    return V::kStreams && elements * (int64_t)sizeof(S) >= least && begins_line(result);
  }
  return false;
}

// Past the caches, but for parts of cache lines.
template <class S>
void copy_past_caches(const S* from, S* to, int64_t count) {
  using V = Simd<float>;
  constexpr int64_t kLine = 64 / sizeof(S);
  const int64_t before = -(int64_t)((uintptr_t)to / sizeof(S)) & (kLine - 1);
  int64_t i = smaller(before, count);
  __builtin_memcpy(to, from, (size_t)i * sizeof(S));
  for (; i + kLine <= count; i += kLine) {
#pragma GCC unroll 16
    for (int64_t lane = 0; lane < 16; lane += V::kLanes)
      V::stream((float*)(to + i) + lane, V::load((const float*)(from + i) + lane));
  }
  __builtin_memcpy(to + i, from + i, (size_t)(count - i) * sizeof(S));
}

}  // namespace
}  // namespace torchconv::cpu

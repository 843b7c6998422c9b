// For memory that no hardware prefetcher sees coming. Functions that only fetch must be inlined: GCC takes them for
// functions without an effect and leaves out calls of them.
#pragma once

#include <cstdint>

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

}  // namespace
}  // namespace torchconv::cpu

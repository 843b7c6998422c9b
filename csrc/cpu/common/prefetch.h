// For memory that no hardware prefetcher sees coming.
#pragma once

#include <cstdint>

namespace torchconv::cpu {
namespace {

// Into the L2 cache.
template <class T>
void prefetch_span(const T* from, int64_t count) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t i = 0; i < count; i += kLine) __builtin_prefetch(from + i, 0, 2);
}

// `rows` spans that are `stride` elements apart.
template <class T>
void prefetch_rows(const T* from, int64_t stride, int64_t rows, int64_t count) {
  for (int64_t i = 0; i < rows; ++i) prefetch_span(from + i * stride, count);
}

}  // namespace
}  // namespace torchconv::cpu

// Padding that repeats elements of the input. No torch here.
#pragma once

#include <cstdint>

namespace torchconv {

// What is around the input: zeros, or elements of it, as the modes of torch.nn.functional.pad.
enum class PaddingMode { kZeros, kReflect, kReplicate, kCircular };

// The coordinate in [0, size) of the element that is at coordinate `at`, in the input or in the padding; -1
// where that is zero and beyond the padding.
constexpr int64_t element_at(PaddingMode mode, int64_t at, int64_t size, int64_t before,
                             int64_t after) {
  if (at >= 0 && at < size) return at;
  if (mode == PaddingMode::kZeros || at < -before || at >= size + after) return -1;
  if (mode == PaddingMode::kReflect) return at < 0 ? -at : 2 * (size - 1) - at;
  if (mode == PaddingMode::kReplicate) return at < 0 ? 0 : size - 1;
  return at < 0 ? at + size : at - size;
}

struct Margins {
  PaddingMode mode = PaddingMode::kZeros;  // else there are none
  int64_t top = 0, bottom = 0, left = 0, right = 0;

  bool any() const { return mode != PaddingMode::kZeros; }
  int64_t row(int64_t y, int64_t height) const { return element_at(mode, y, height, top, bottom); }
  int64_t column(int64_t x, int64_t width) const { return element_at(mode, x, width, left, right); }
};

}  // namespace torchconv

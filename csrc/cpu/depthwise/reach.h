// Which positions and taps of one axis reach the source rather than padding. No torch, no SIMD.
#pragma once

#include "cpu/common/gather.h"

namespace torchconv::cpu {
// Positions whose taps all lie inside the source.
inline Range inner_positions(const Axis& axis, const AxisPhase& phase) {
  const int64_t last = phase.src_first + larger(0, phase.taps - 1) * phase.src_delta;
  const int64_t low = smaller(phase.src_first, last), high = larger(phase.src_first, last);
  const int64_t begin = smaller(phase.size, low < 0 ? ceil_div(-low, axis.src_step) : 0);
  const int64_t end = high < axis.src_size ? (axis.src_size - 1 - high) / axis.src_step + 1 : 0;
  return {begin, larger(begin, smaller(phase.size, end))};
}

// How many positions from i on make a tile: inner ones are shared out evenly, others stand alone.
inline int64_t tile_length(int64_t i, Range inner, int64_t most) {
  const int64_t rest = inner.end - i;
  return i < inner.begin || rest <= 0 ? 1 : ceil_div(rest, ceil_div(rest, most));
}

}  // namespace torchconv::cpu

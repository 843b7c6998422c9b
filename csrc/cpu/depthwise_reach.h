// Which positions and taps of one axis reach the source rather than padding. Included inside the
// namespace of each isa_*.cpp.
#pragma once

// Positions whose taps all lie inside the source: [begin, end).
inline void inner_positions(const Axis& axis, const AxisPhase& phase, int64_t& begin,
                            int64_t& end) {
  const int64_t last = phase.src_first + larger(0, phase.taps - 1) * phase.src_delta;
  const int64_t low = smaller(phase.src_first, last), high = larger(phase.src_first, last);
  begin = smaller(phase.size, low < 0 ? ceil_div(-low, axis.src_step) : 0);
  end = high < axis.src_size ? (axis.src_size - 1 - high) / axis.src_step + 1 : 0;
  end = larger(begin, smaller(phase.size, end));
}

// How many positions from i on make a tile: inner ones are shared out evenly, others stand alone.
inline int64_t tile_length(int64_t i, int64_t begin, int64_t end, int64_t most) {
  return i < begin || i >= end ? 1 : ceil_div(end - i, ceil_div(end - i, most));
}

// How the taps of one axis fall into residue planes, and when a walk leaves some of them out. No torch,
// no SIMD.
#pragma once

#include "cpu/common/gather.h"

namespace torchconv::cpu {

// Planes of one axis: tap t of the forward operator reads plane t % count, every tap of the other
// plane 0.
inline int64_t plane_count(const Axis& axis) {
  if (!axis.forward) return 1;
  return smaller(axis.kernel, axis.stride / greatest_common_divisor(axis.stride, axis.dilation));
}

// Position i of a plane lies at source coordinate i * src_step + src_low + plane_first.
inline int64_t plane_first(const Axis& axis, int64_t plane) {
  return plane * axis.dilation % axis.src_step;
}

// How many zeros every plane has both before its first and after its last element of the source.
inline int64_t shared_zeros(const Axis& axis, int64_t length) {
  int64_t shared = length - 1;
  for (int64_t plane = 0; plane < plane_count(axis); ++plane) {
    const auto [first, last] =
        inside(axis.src_low + plane_first(axis, plane), axis.src_step, length, axis.src_size);
    shared = larger(0, smaller(shared, smaller(first, length - last)));
  }
  return shared;
}

// If a walk over one image repays to be cut into spans, each of which leaves out the rows of taps
// that only see padding.
inline bool spans_repay(const Gather& gather, int64_t lanes, int64_t pitch) {
  using namespace cost;
  const auto length = [&](int64_t rows) {
    return (double)round_up((rows - 1) * pitch + gather.columns.longest, lanes);
  };
  // Fewer rows than these see padding, and not with every tap.
  const Axis& axis = gather.rows;
  const int64_t outside =
      larger(0, -axis.src_low) +
      larger(0, (axis.longest - 1) * axis.src_step + axis.src_high - axis.src_size + 1);
  if (kPaddedRows * ceil_div(outside, axis.src_step) < axis.longest) return false;
  const double steps = (double)gather.src_channels * gather.columns.kernel / gather.columns.phases;
  double whole = 0, spans = 0;
  for (int64_t i = 0; i < axis.phases; ++i) {
    const AxisPhase rows = axis.phase(i);
    whole += length(axis.longest) * steps * rows.taps;
    for (int64_t first = 0; first < rows.size;) {
      const TapSpan span(axis, rows, first, rows.size);
      spans += length(span.end - first) * (kSpanSteps + steps * (span.tap_end - span.tap_begin));
      first = span.end;
    }
  }
  return spans < kSpansRepay * whole;
}

}  // namespace torchconv::cpu

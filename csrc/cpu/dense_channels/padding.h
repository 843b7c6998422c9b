// Which taps the columns of a row need where padding is left out. No torch, no SIMD.
#pragma once

#include "cpu/common/gather.h"

namespace torchconv::cpu {

// Parts of a row whose columns leave out the same taps, none of them too short for a tile.
struct RowParts {
  static constexpr int64_t kMost = 8;
  int64_t count = 0;
  int64_t begin[kMost + 1], s_begin[kMost], s_end[kMost];

  RowParts(const Axis& axis, const AxisPhase& columns, bool skip_padding) {
    const auto add = [&](int64_t j, int64_t s_first, int64_t s_last) {
      begin[count] = j, s_begin[count] = s_first, s_end[count] = s_last;
      ++count;
    };
    if (!skip_padding) add(0, 0, columns.taps);
    for (int64_t j = 0; skip_padding && j < columns.size;) {
      const TapSpan span(axis, columns, j, columns.size);
      if (count && (span.end - j < cost::kShortestRowPart ||
                    j - begin[count - 1] < cost::kShortestRowPart || count == kMost)) {
        s_begin[count - 1] = smaller(s_begin[count - 1], span.tap_begin);
        s_end[count - 1] = larger(s_end[count - 1], span.tap_end);
      } else {
        add(j, span.tap_begin, span.tap_end);
      }
      j = span.end;
    }
    begin[count] = columns.size;
  }
};

}  // namespace torchconv::cpu

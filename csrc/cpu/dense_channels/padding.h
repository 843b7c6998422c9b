// Which taps the columns of a row need where padding is left out. No torch, no SIMD.
#pragma once

#include "cpu/common/gather.h"

namespace torchconv::cpu {

// Parts of a row whose columns leave out the same taps.
struct RowParts {
  static constexpr int64_t kMost = 8;
  int64_t count = 0;
  int64_t begin[kMost + 1], s_begin[kMost], s_end[kMost];

  RowParts(const Axis& axis, const AxisPhase& columns, bool skip_padding) {
    if (!skip_padding) add(0, 0, columns.taps, 1);
    for (int64_t j = 0; skip_padding && j < columns.size;) {
      const TapSpan span(axis, columns, j, columns.size);
      add(j, span.tap_begin, span.tap_end, span.end);
      j = span.end;
    }
    begin[count] = columns.size;
  }

  // The same with none too short for a tile.
  RowParts joined() const {
    RowParts parts = *this;
    parts.count = 0;
    for (int64_t i = 0; i < count; ++i)
      parts.add(begin[i], s_begin[i], s_end[i], begin[i + 1], cost::kShortestRowPart);
    parts.begin[parts.count] = begin[count];
    return parts;
  }

 private:
  // Columns from j to end; those with fewer than `shortest` become part of what is before them.
  void add(int64_t j, int64_t s_first, int64_t s_last, int64_t end, int64_t shortest = 1) {
    if (count && (end - j < shortest || j - begin[count - 1] < shortest || count == kMost)) {
      s_begin[count - 1] = smaller(s_begin[count - 1], s_first);
      s_end[count - 1] = larger(s_end[count - 1], s_last);
      return;
    }
    begin[count] = j, s_begin[count] = s_first, s_end[count] = s_last;
    ++count;
  }
};

}  // namespace torchconv::cpu

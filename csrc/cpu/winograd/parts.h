// A large kernel as a sum of small ones, its parts: along each axis so many taps as the algorithm has, in the last
// part zeros beyond the kernel. A part sees the source shifted by its first tap, so that at Winograd's points the
// parts are more source channels. With 3 x 3 taps a part:
//
//     kernel 5 x 7     a a a b b b c 0 0
//                      a a a b b b c 0 0     six parts a ... f: V has the channels of a, those of b, ..., each of
//                      a a a b b b c 0 0     tiles that are shifted by (0, 0), (0, 3), ..., (3, 6)
//                      d d d e e e f 0 0
//                      d d d e e e f 0 0
//                      0 0 0 0 0 0 0 0 0
//
// No torch, no SIMD.
#pragma once

#include "cpu/common/arithmetic.h"
#include "cpu/winograd/filtering.h"

namespace torchconv::cpu {

// The taps of a part that the kernel has.
struct PartTaps {
  int64_t row, rows, column, columns;
};

struct KernelParts {
  int64_t kernel_rows, kernel_columns;
  Cut down, across;  // of the taps

  KernelParts() = default;
  KernelParts(int64_t rows, int64_t columns, const AxisSizes& down, const AxisSizes& across)
      : kernel_rows(rows),
        kernel_columns(columns),
        down(Cut::of(down.taps, rows)),
        across(Cut::of(across.taps, columns)) {}

  int64_t count() const { return down.count * across.count; }
  // How far the last part is shifted.
  int64_t last_row() const { return down.begin(down.count - 1); }
  int64_t last_column() const { return across.begin(across.count - 1); }
  PartTaps taps(int64_t part) const {
    const int64_t row = part / across.count, column = part % across.count;
    return {down.begin(row), down.length(row, kernel_rows), across.begin(column),
            across.length(column, kernel_columns)};
  }
  // The same of a kernel that is seen turned.
  PartTaps turned(const PartTaps& taps) const {
    return {kernel_rows - taps.row - taps.rows, taps.rows,
            kernel_columns - taps.column - taps.columns, taps.columns};
  }
};

}  // namespace torchconv::cpu

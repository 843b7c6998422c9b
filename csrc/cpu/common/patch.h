// Which part of the source a job loads: the rows, columns and channels that its positions read, as
// [row][column][channel] with zeros where there is padding. No torch, no SIMD.
#pragma once

#include "cpu/common/gather.h"

namespace torchconv::cpu {

// An axis with one tap needs only the positions that it reads. Where tap rows are far apart, each of
// them is such an axis, a section: the rows between them would be loaded for nothing.
struct Patch {
  int64_t sections;                     // one with all rows, or one for every tap row
  int64_t row_skip, row_advance;        // source rows of a patch row; patch rows of a position
  int64_t column_skip, column_advance;  // the same across
  int64_t columns;
  int64_t halo;  // rows of a section that one position reads

  int64_t section_rows(int64_t positions) const { return (positions - 1) * row_advance + halo; }
  int64_t rows(int64_t positions) const { return sections * section_rows(positions); }
  // The first source row of a section for position 0.
  int64_t first_row(const Axis& axis, int64_t section) const {
    if (sections == 1) return axis.src_low;
    const AxisPhase taps = axis.phase(0);
    return taps.src_first + section * taps.src_delta;
  }
};

// `in_place`: the source itself is the patch, every row and column of it. Tap rows further apart than
// `apart` kernel rows make sections.
inline Patch make_patch(const Gather& gather, bool in_place, int64_t apart) {
  const Axis &rows = gather.rows, &columns = gather.columns;
  const int64_t span = rows.src_high - rows.src_low + 1;
  const bool sections = !in_place && rows.phases == 1 && span > apart * rows.kernel;
  const bool every_row = in_place || (!sections && rows.kernel > 1);
  Patch patch{};
  patch.sections = sections ? rows.kernel : 1;
  patch.row_skip = every_row ? 1 : rows.src_step;
  patch.row_advance = every_row ? rows.src_step : 1;
  patch.halo = every_row ? span : 1;
  patch.column_skip = columns.kernel == 1 && !in_place ? columns.src_step : 1;
  patch.column_advance = patch.column_skip == 1 ? columns.src_step : 1;
  patch.columns =
      (columns.longest - 1) * patch.column_advance + columns.src_high - columns.src_low + 1;
  return patch;
}

}  // namespace torchconv::cpu

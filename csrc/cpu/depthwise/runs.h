// Where runs of pixels (pixel_run.h) take the rows of a depthwise kernel. No torch, no SIMD.
#pragma once

#include "cpu/common/gather.h"

namespace torchconv::cpu {

constexpr int kRunTaps = 7, kRunColumns = 64;
constexpr int64_t kFewPhases = 4;

// Runs are compiled for types whose 64 bytes hold this many lanes.
constexpr int64_t kRunLanes = 16;

// Vectors of the even and of the odd channels keep their weights in registers for kernels of so few taps.
constexpr int kEvenOddTaps = 5;

// With stride two rows of other numbers of taps come in parts: of so many taps, then two, then one.
constexpr int kPartTaps = 4;
constexpr int64_t kMostPartedTaps = 48, kMostRunRows = 48;

constexpr bool in_parts(int64_t taps, int64_t step) {
  return step == 2 && taps > 1 && taps != 3 && taps != 5;
}

// For so many neighbouring taps, where pixels are a step apart.
constexpr bool has_run(int64_t taps, int64_t step) {
  if (in_parts(taps, step)) return taps <= kMostPartedTaps;
  return taps <= kRunTaps && (taps <= 1 || step <= 2);
}

// Whether every phase of the columns has a kernel that takes its taps of a row at once.
inline bool rows_are_runs(const Gather& gather) {
  if (gather.columns.phases > kFewPhases || gather.rows.kernel > kMostRunRows) return false;
  for (int64_t i = 0; i < gather.columns.phases; ++i) {
    const AxisPhase columns = gather.columns.phase(i);
    const int64_t taps = columns.taps, step = gather.columns.src_step;
    if (!has_run(taps, step) || (taps > 1 && step > 1 && columns.src_delta != 1)) return false;
  }
  return true;
}

}  // namespace torchconv::cpu

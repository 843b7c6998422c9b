// Which contiguous maps depthwise transposes, so that channels fill the lanes, beside those that fill few of them
// otherwise (depthwise_channels_in_lanes). No torch, no SIMD.
#pragma once

#include "cpu/depthwise/patch.h"

namespace torchconv::cpu {

// Small kernels with pixels in the lanes are computed in strips, which read weights in rows of
// kStripPitch.
constexpr int64_t kStripRows = 7, kStripPitch = 8;

// A contiguous map is transposed for kernels of other sizes with stride two, too, and for those too large for strips:
// in a plane they load for every tap, mostly across two cache lines, and see padding. 9 x 9 to 31 x 31 at 13 x 13 to
// 112 x 112 take 0.43 to 0.91 of the time, with AVX2 0.67 to 0.96 up to 32 x 32 and 1.01 to 1.1 beyond (Zen 4).
inline bool transposes(const Gather& gather, int64_t lanes, Isa isa) {
  const Axis &rows = gather.rows, &columns = gather.columns;
  const bool strided =
      columns.src_step == 2 && columns.kernel > 2 && rows.kernel > 1 && rows_are_runs(gather);
  // Kernels that reach far would need a patch that does not fit: in a plane it is a part of that.
  const int64_t patch = make_depthwise_patch(gather, true, 1, 1, lanes).size;
  const bool large =
      columns.src_step == 1 && rows.src_step == 1 && rows.kernel > kStripRows &&
      columns.kernel > kStripPitch && patch * (int64_t)sizeof(float) <= cost::kLargestPatchBytes &&
      columns.longest <= (isa >= Isa::kAvx512 ? cost::kTransposedRow : cost::kTransposedRowAvx2);
  return isa >= Isa::kAvx2 && lanes == kRunLanes && gather.src_channels == 1 &&
         gather.dst_channels == 1 && (strided || large) &&
         filled_lanes(gather.groups, lanes) >= sum_order::kFilledWithStride;
}

// Whether channels fill the lanes of a contiguous image that is folded.
inline bool folds_transposed(const Gather& gather, int64_t element, int64_t lanes, Isa isa) {
  using namespace cost;
  const int64_t channels = gather.groups * gather.dst_channels, row = gather.columns.longest;
  const double bytes = (double)(gather.n * channels * element) * (double)gather.rows.dst_size *
                       (double)gather.columns.dst_size;
  return gather.src_channels == 1 &&
         filled_lanes(channels, lanes) > kFilledByFolding * filled_lanes(row, lanes) &&
         (row <= lanes || gather.taps() > kFewFoldedTaps ||
          bytes > (isa >= Isa::kAvx512 ? kFoldedInCaches : kFoldedInCachesAvx2));
}

}  // namespace torchconv::cpu

// The part of the source that one block of a depthwise job reads, and what fills its lanes: shared by
// all three operators. No torch, no SIMD.
#pragma once

#include "cpu/depthwise/runs.h"

namespace torchconv::cpu {

// The source of one block in the compute type, padding as zeros.
//
//     pixels in the lanes     [plane][row][column phase][length]  columns of one phase are neighbours
//     channels in the lanes   [plane][row][column][lanes]
struct DepthwisePatch {
  int64_t planes;                 // source planes behind a destination plane
  int64_t pixel;                  // pixels in the lanes: from a pixel of a source plane to the next
  int64_t row_skip, row_advance;  // source rows of a patch row; patch rows of a destination row
  int64_t column_skip;            // source columns between patch columns of one phase
  int64_t phases, length;
  int64_t pixel_step;  // elements from one destination column to the next
  int64_t row_pitch, plane_pitch, size;

  // Where the source column src_low + at lies in a patch row.
  int64_t column(int64_t at, int64_t lanes) const {
    return phases == 1 ? at / column_skip * lanes : at % phases * length + at / phases;
  }
};

// Transposing a narrow map to channels costs, so the lanes gained must be worth it.
inline bool depthwise_channels_in_lanes(const Gather& gather, int64_t lanes) {
  using namespace sum_order;
  const int64_t channels = gather.groups * larger(gather.src_channels, gather.dst_channels);
  if (gather.layout == Layout::kChannelsLast) {
    return channels > kFewChannelsLast || channels > gather.columns.longest;
  }
  if (gather.src_channels > 1 || gather.dst_channels > 1) return false;
  // Runs do both phases of stride two at once; in a plane its columns have to be taken apart.
  const auto halved = [](const Axis& axis) {
    return axis.stride == 2 && axis.dilation == 1 && (axis.kernel == 3 || axis.kernel == 5);
  };
  if (lanes == kRunLanes && halved(gather.rows) && halved(gather.columns) &&
      filled_lanes(channels, lanes) >= kFilledWithStride) {
    return true;
  }
  return filled_lanes(channels, lanes) >
         kFilledByTransposing * filled_lanes(gather.columns.longest, lanes);
}

// The patch of `rows` destination rows of every phase.
inline DepthwisePatch make_depthwise_patch(const Gather& gather, bool channels_in_lanes,
                                           int64_t planes, int64_t rows, int64_t lanes) {
  const Axis &down = gather.rows, &across = gather.columns;
  DepthwisePatch patch{};
  patch.planes = planes;
  patch.pixel = gather.layout == Layout::kChannelsLast ? gather.groups * gather.src_channels : 1;
  // An axis with one tap needs only the positions that it reads.
  patch.row_skip = down.kernel == 1 ? down.src_step : 1;
  patch.row_advance = down.kernel == 1 ? 1 : down.src_step;
  const int64_t patch_rows = (rows - 1) * patch.row_advance + down.src_high - down.src_low + 1;
  const int64_t step = across.src_step, span = across.src_high - across.src_low;
  if (channels_in_lanes) {
    const int64_t advance = across.kernel == 1 ? 1 : step;
    patch.column_skip = across.kernel == 1 ? step : 1;
    patch.phases = 1;
    patch.length = (across.longest - 1) * advance + span + 1;
    patch.pixel_step = advance * lanes;
    patch.row_pitch = patch.length * lanes;
  } else {
    patch.column_skip = step;
    patch.phases = across.kernel == 1 ? 1 : step;
    patch.length = round_up(across.longest, lanes) + span / step;
    patch.pixel_step = 1;
    patch.row_pitch = patch.phases * patch.length;
  }
  patch.plane_pitch = patch_rows * patch.row_pitch;
  patch.size = round_up(patch.planes * patch.plane_pitch, 16) + 16;  // rows are whole vectors
  return patch;
}

}  // namespace torchconv::cpu

// How a convolution of integers is computed, and cut into jobs.
#pragma once

#include "cpu/common/patch.h"
#include "cpu/integer/kernels.h"

namespace torchconv::cpu {

struct IntegerPlan {
  // Register tiles over a patch; where groups have few channels, steps of taps; or map after map, as they lie.
  enum class Way { kTiles, kTapRows, kMaps };

  Gather gather;
  Way way;
  bool is_signed;  // int8 images
  int64_t offset;  // added to them
  // A pixel, or a kernel row, has so many steps, of 4 bytes; a panel so many output channels.
  int64_t steps, panel, panels, pieces;
  Cut rows;
  Patch patch;
  int64_t patch_bytes, row_bytes;  // of a thread: the patch, and pixels by channels
  int64_t panel_bytes;             // of packed weights
  int64_t lane_pitch;              // of kTapRows: lanes of a step in the patch, columns or channels
  int64_t shared_bytes;
  int64_t maps;  // of a job of kMaps

  int64_t pixel_bytes() const { return 4 * steps; }
  int64_t patch_row_bytes() const { return pixel_bytes() * patch.columns; }
  int64_t tap_row_bytes() const {
    const int64_t down = patch.sections > 1 ? patch.section_rows(rows.size) : gather.rows.dilation;
    return down * patch_row_bytes();
  }
  int64_t source_rows(int64_t positions) const {
    return (positions - 1) * gather.rows.src_step +
           (gather.rows.kernel - 1) * gather.rows.dilation + 1;
  }
  int64_t tap_patch_row_bytes() const {
    const bool last = gather.layout == Layout::kChannelsLast;
    return 4 * steps * lane_pitch * (last ? gather.columns.dst_size : gather.src_channels);
  }
  // Rows of pixels that lie one after the other in the patch and in the result are one.
  bool rows_join() const {
    return gather.taps() == 1 && patch.column_advance == 1 && patch.row_advance == 1;
  }
};

constexpr int64_t kIntegerLoad = 64;  // pixels that are loaded together
constexpr int64_t kIntegerRun = 96;   // pixels whose sums are stored together
constexpr int64_t kIntegerJobPixels = 512, kIntegerPatchBytes = 192 << 10;
constexpr double kMostIntegerPatch =
    8 << 20;  // bytes of one row of pixels; beyond, there is no patch

// Images of one pixel are a row of pixels.
inline Conv2dShape simplified_integers(Conv2dShape d) {
  const bool one = d.h == 1 && d.w == 1 && d.r == 1 && d.s == 1 && d.p == 1 && d.q == 1;
  if (!one || d.pad_top || d.pad_left) return d;
  d.w = d.q = d.n;
  d.n = d.stride_w = 1;
  d.pad_bottom = d.pad_right = 0;
  d.layout = Layout::kChannelsLast;
  return d;
}

// The most positions of the row axis that give a job enough pixels, and fit.
template <class PatchBytes>
Cut integer_rows(const Gather& gather, const PatchBytes& patch_bytes) {
  int64_t rows = 1;
  while (rows < gather.rows.longest && rows * gather.columns.longest < kIntegerJobPixels &&
         patch_bytes(rows + 1) <= kIntegerPatchBytes) {
    ++rows;
  }
  return Cut::into(ceil_div(gather.rows.longest, rows), gather.rows.longest);
}

// Whether steps of taps take fewer instructions than steps of channels, or false if there is no room for them.
inline bool plan_tap_rows(const Conv2dShape& d, const IntegerKernels& kernels, IntegerPlan& made,
                          Plan& plan) {
  const Gather& gather = made.gather;
  const bool last = d.layout == Layout::kChannelsLast;
  const int64_t c = gather.src_channels, k = gather.dst_channels, lanes = kernels.lanes;
  const int64_t s = gather.columns.kernel, width = gather.columns.dst_size;
  const int64_t steps = ceil_div(s, kernels.step);
  if (c == 0 || (last && (c > 1 || k > 1 || gather.groups == 1))) return false;
  // Loading counts as two more output channels.
  const double by_taps = (double)((k + 2) * c * steps * round_up(width, lanes)) / (double)width;
  const double by_channels = (double)(lanes * s * ceil_div(c, kernels.step) * ceil_div(k, lanes));
  if (!last && 3 * by_taps > 2 * by_channels) return false;
  const double line = (double)(width + lanes) * (double)gather.columns.src_step +
                      (double)gather.columns.padding + (double)gather.columns.src_size +
                      (double)(steps * kernels.step) * (double)gather.columns.dilation;
  const double row = 4.0 * (double)steps * (double)c * (double)(width + lanes) *
                     (last ? 4.0 * (double)lanes : 1.0);
  if (line > kMostIntegerPatch || row * (double)made.source_rows(1) > kMostIntegerPatch)
    return false;
  made.way = IntegerPlan::Way::kTapRows;
  made.steps = steps;
  made.lane_pitch = last ? smaller(4 * lanes, round_up(d.c, lanes)) : round_up(width, lanes);
  made.pieces = last ? ceil_div(d.c, made.lane_pitch) : gather.groups;
  const auto patch_bytes = [&](int64_t rows) {
    return made.source_rows(rows) * made.tap_patch_row_bytes();
  };
  made.rows = integer_rows(gather, patch_bytes);
  made.patch_bytes = patch_bytes(made.rows.size);
  made.row_bytes = last ? made.lane_pitch : (int64_t)line;
  made.panel_bytes = 4 * steps * gather.rows.kernel * (last ? round_up(d.c, lanes) : c);
  made.shared_bytes =
      last ? made.panel_bytes + 4 * round_up(d.c, lanes) : d.k * (made.panel_bytes + 4);
  plan.stages = 2;
  plan.jobs[0] = last ? 1 : gather.groups;
  plan.jobs[1] = gather.n * made.rows.count * made.pieces;
  plan.shared_bytes = made.shared_bytes;
  plan.scratch_bytes = made.patch_bytes + made.row_bytes;
  return true;
}

inline void plan_tiles(const IntegerKernels& kernels, IntegerPlan& made, Plan& plan) {
  const Gather& gather = made.gather;
  made.way = IntegerPlan::Way::kTiles;
  made.panel = 2 * kernels.lanes;
  made.panels = ceil_div(gather.dst_channels, made.panel);
  const auto patch_bytes = [&](int64_t rows) {
    return made.patch.rows(rows) * made.patch_row_bytes();
  };
  made.rows = integer_rows(gather, patch_bytes);
  made.patch_bytes = round_up(patch_bytes(made.rows.size), 64);
  made.row_bytes = kIntegerLoad * made.pixel_bytes();
  made.panel_bytes = made.panel * made.steps * gather.taps() * 4;
  const int64_t jobs = gather.n * gather.groups * made.rows.count;
  made.pieces = parts_for_threads(jobs, plan.threads, made.panels);
  plan.stages = 2;
  plan.jobs[0] = gather.groups * made.panels;
  plan.jobs[1] = jobs * made.pieces;
  plan.shared_bytes = gather.groups * made.panels * (made.panel_bytes + made.panel * 4);
  const int64_t sums = kIntegerRun * made.panel * 4;
  plan.scratch_bytes = larger(made.panel_bytes, made.patch_bytes + made.row_bytes + sums);
}

inline void plan_maps(IntegerPlan& made, Plan& plan) {
  made.way = IntegerPlan::Way::kMaps;
  const int64_t maps = made.gather.n * made.gather.groups * made.gather.dst_channels;
  made.maps = larger(1, smaller(8, maps / 16));
  plan.jobs[0] = ceil_div(maps, made.maps);
}

inline void plan_integers(const Conv2dShape& given, bool is_signed, const IntegerKernels& kernels,
                          Plan& plan) {
  const Conv2dShape d = simplified_integers(given);
  IntegerPlan made{};
  made.gather = make_gather(Op::kForward, d);
  made.is_signed = is_signed;
  made.offset = is_signed ? kernels.offset : 0;
  if (!plan_tap_rows(d, kernels, made, plan)) {
    made.steps = ceil_div(d.c_per_group(), kernels.step);
    made.patch = make_patch(made.gather, false, cost::kTapRowsApart);
    const double rows = made.patch.rows(1), columns = made.patch.columns;
    const bool fits = rows * columns * (double)made.pixel_bytes() <= kMostIntegerPatch;
    if (fits && d.c > 0) {
      plan_tiles(kernels, made, plan);
    } else {
      plan_maps(made, plan);
    }
  }
  plan.keep(made);
}

}  // namespace torchconv::cpu

// How a convolution of integers is computed, and cut into jobs.
#pragma once

#include "cpu/common/patch.h"
#include "cpu/integer/kernels.h"

namespace torchconv::cpu {

struct IntegerPlan {
  // Register tiles over a patch; or map after map, as they lie; or channels next to each other in the lanes, of
  // depthwise layers in channels_last.
  enum class Way { kTiles, kMaps, kDepthwise };

  Gather gather;
  Way way;
  bool is_signed;  // int8 images
  int64_t offset;  // added to them
  // Of tiles. A pixel has so many steps, of 4 bytes; a panel so many output channels.
  int64_t steps, panel, panels, pieces;
  Cut rows;
  Patch patch;
  int64_t patch_bytes, row_bytes;  // of a thread: the patch, and a row of it by channels
  int64_t panel_bytes;             // of packed weights
  int64_t maps;                    // of a job of kMaps

  int64_t pixel_bytes() const { return 4 * steps; }
  int64_t patch_row_bytes() const { return pixel_bytes() * patch.columns; }
  int64_t tap_row_bytes() const {
    const int64_t down = patch.sections > 1 ? patch.section_rows(rows.size) : gather.rows.dilation;
    return down * patch_row_bytes();
  }
  // Rows of pixels that lie one after the other in the patch and in the result are one.
  bool rows_join() const {
    return gather.taps() == 1 && patch.column_advance == 1 && patch.row_advance == 1;
  }
};

constexpr int64_t kIntegerRun = 96;  // pixels whose sums are stored together
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

inline bool takes_maps(const Conv2dShape& d, const IntegerPlan& plan) {
  const double rows = plan.patch.rows(1), columns = plan.patch.columns;
  if (d.c == 0 || rows * columns * (double)plan.pixel_bytes() > kMostIntegerPatch) return true;
  return d.c_per_group() == 1 && d.k_per_group() <= 4 && d.layout == Layout::kContiguous;
}

inline void plan_integers(const Conv2dShape& given, bool is_signed, const IntegerKernels& kernels,
                          Plan& plan) {
  const Conv2dShape d = simplified_integers(given);
  IntegerPlan made{};
  made.gather = make_gather(Op::kForward, d);
  const Gather& gather = made.gather;
  made.is_signed = is_signed;
  made.offset = is_signed ? kernels.offset : 0;
  made.steps = ceil_div(d.c_per_group(), kernels.step);
  made.panel = 2 * kernels.lanes;
  made.panels = ceil_div(d.k_per_group(), made.panel);
  made.patch = make_patch(gather, false, cost::kTapRowsApart);
  if (d.groups == d.c && d.k == d.c && d.layout == Layout::kChannelsLast && d.c > 1) {
    made.way = IntegerPlan::Way::kDepthwise;
    plan.stages = 2;
    plan.jobs[0] = 1;
    plan.jobs[1] = made.gather.n * made.gather.rows.dst_size;
    plan.shared_bytes = d.c * d.r * d.s * (int64_t)sizeof(int16_t);
    return plan.keep(made);
  }
  if (takes_maps(d, made)) {
    made.way = IntegerPlan::Way::kMaps;
    made.maps = larger(1, smaller(8, d.n * d.k / 16));
    plan.jobs[0] = ceil_div(d.n * d.k, made.maps);
    return plan.keep(made);
  }
  made.way = IntegerPlan::Way::kTiles;
  const auto patch_bytes = [&](int64_t rows) {
    return made.patch.rows(rows) * made.patch_row_bytes();
  };
  int64_t rows = 1;
  while (rows < gather.rows.longest && rows * gather.columns.longest < kIntegerJobPixels &&
         patch_bytes(rows + 1) <= kIntegerPatchBytes) {
    ++rows;
  }
  made.rows = Cut::into(ceil_div(gather.rows.longest, rows), gather.rows.longest);
  made.patch_bytes = round_up(patch_bytes(made.rows.size), 64);
  made.row_bytes = round_up(made.patch_row_bytes(), 64);
  made.panel_bytes = made.panel * made.steps * gather.taps() * 4;
  const int64_t jobs = gather.n * gather.groups * made.rows.count;
  made.pieces = parts_for_threads(jobs, plan.threads, made.panels);
  plan.stages = 2;
  plan.jobs[0] = gather.groups * made.panels;
  plan.jobs[1] = jobs * made.pieces;
  plan.shared_bytes = gather.groups * made.panels * (made.panel_bytes + made.panel * 4);
  const int64_t sums = kIntegerRun * made.panel * 4;
  plan.scratch_bytes = larger(made.panel_bytes, made.patch_bytes + made.row_bytes + sums);
  plan.keep(made);
}

}  // namespace torchconv::cpu

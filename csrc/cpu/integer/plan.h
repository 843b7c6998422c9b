// How a convolution of integers is computed, and cut into jobs.
#pragma once

#include "cpu/common/patch.h"
#include "cpu/integer/kernels.h"
#include "cpu/integer/quads.h"

namespace torchconv::cpu {

struct IntegerPlan {
  // Register tiles over a patch; where groups have few channels, quads; or map after map, as they lie.
  enum class Way { kTiles, kQuads, kMaps };

  Gather gather;
  Way way;
  bool is_signed;  // int8 images
  int64_t offset;  // added to them
  // A pixel has so many steps, of 4 bytes; a panel so many output channels.
  int64_t steps, panel, panels, pieces;
  Cut rows;
  Patch patch;
  int64_t patch_bytes, row_bytes;  // of a thread: the patch, and pixels by channels
  int64_t panel_bytes;             // of packed weights
  int64_t maps;                    // of a job of kMaps
  int64_t pack_jobs;               // of kQuads
  Quads quads;

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
Cut integer_rows(const Gather& gather, int64_t pixels, const PatchBytes& patch_bytes) {
  int64_t rows = 1;
  while (rows < gather.rows.longest && rows * gather.columns.longest < pixels &&
         patch_bytes(rows + 1) <= kIntegerPatchBytes) {
    ++rows;
  }
  return Cut::into(ceil_div(gather.rows.longest, rows), gather.rows.longest);
}

inline void plan_tiles(const IntegerKernels& kernels, IntegerPlan& made, Plan& plan) {
  const Gather& gather = made.gather;
  made.way = IntegerPlan::Way::kTiles;
  made.panel = 2 * kernels.lanes;
  made.panels = ceil_div(gather.dst_channels, made.panel);
  const auto patch_bytes = [&](int64_t rows) {
    return made.patch.rows(rows) * made.patch_row_bytes();
  };
  made.rows = integer_rows(gather, kIntegerJobPixels, patch_bytes);
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

}  // namespace torchconv::cpu

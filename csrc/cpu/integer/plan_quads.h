// Whether groups are so small that quads.h takes fewer instructions than tiles, and how.
#pragma once

#include "cpu/integer/plan.h"

namespace torchconv::cpu {

constexpr int64_t kQuadLanes = 64;        // channels of a load, at most
constexpr int64_t kQuadJobPixels = 4096;  // of a plane
constexpr double kMostQuadTerms = 4096;

inline bool is_three_rows(const Gather& gather, Quads::Of of) {
  const Axis& rows = gather.rows;
  return of == Quads::Of::kWindows && gather.src_channels == 1 && rows.kernel == 3 &&
         (rows.src_step == rows.dilation || rows.src_step == 2 * rows.dilation);
}

// See planes.h: the windows of a kernel row lie in 16 bytes, and in the next four.
inline bool are_planes(const Gather& gather) {
  const Axis &rows = gather.rows, &columns = gather.columns;
  const int64_t shift = rows.src_step / rows.dilation;
  const bool three = rows.kernel == 3 && columns.kernel <= 4;
  const bool more =
      (rows.kernel == 5 || rows.kernel == 7) && columns.kernel > 4 && columns.kernel <= 8;
  return gather.layout == Layout::kContiguous && gather.src_channels == 1 && (three || more) &&
         columns.src_step <= 2 && columns.src_step + columns.dilation <= 5 &&
         rows.src_step % rows.dilation == 0 && (shift == 1 || shift == 2);
}

// How many output rows share the quads that one of them needs, or that two need whose windows are taken together.
inline int64_t rows_together(const Gather& gather, const IntegerKernels& kernels, Quads::Of of) {
  const Axis& rows = gather.rows;
  if (is_three_rows(gather, of)) return kernels.outputs;
  if (of == Quads::Of::kWindows) return rows.src_step <= 2 * rows.dilation ? 2 : 1;
  if (rows.src_step != rows.dilation) return 1;
  return smaller(round_up(rows.kernel, 4) - rows.kernel + 1, kernels.outputs);
}

// Whether the windows of four neighbouring columns lie in 16 bytes.
inline bool windows_fit(const Gather& gather) {
  const Axis &rows = gather.rows, &columns = gather.columns;
  return columns.kernel <= 4 && columns.src_step <= 4 && columns.dilation <= 4 &&
         columns.src_step + columns.dilation <= 5 && rows.src_step % rows.dilation == 0;
}

// Products of vectors for each vector of results, in tiles and in quads.
inline bool quads_are_fewer(const Gather& gather, const IntegerKernels& kernels, double by_quads) {
  const int64_t lanes = kernels.lanes, c = gather.src_channels, k = gather.dst_channels;
  const double taps = (double)gather.taps(), width = (double)gather.columns.dst_size;
  const double by_tiles = taps * (double)(ceil_div(c, kernels.step) * ceil_div(k, lanes) * lanes);
  const double filled = width / (double)round_up((int64_t)width, lanes);
  return 3 * by_quads * 4 / kernels.step <= 2 * by_tiles * filled;
}

// Which quads; false if tiles are better.
inline bool choose_quads(const Gather& gather, const IntegerKernels& kernels, Quads& quads) {
  using Of = Quads::Of;
  const int64_t c = gather.src_channels, k = gather.dst_channels, lanes = kernels.lanes;
  const int64_t row_blocks = ceil_div(gather.rows.kernel, 4), channel_blocks = ceil_div(c, 4);
  const double r = (double)gather.rows.kernel, s = (double)gather.columns.kernel;
  const double of_rows = (double)(c * row_blocks) * s, of_windows = (double)c * r;
  const double of_channels = (double)channel_blocks * r * s;
  if (c == 0) return false;
  double terms;
  if (gather.layout == Layout::kChannelsLast) {
    if (gather.groups == 1 || k >= lanes) return false;
    quads.of = c == 1 && k == 1 ? Of::kRows : Of::kChannels;
    // The groups of a vector have to lie in one.
    const int64_t together = lanes % k == 0 ? lanes / k : (lanes - 1) / k + 2;
    if (quads.of == Of::kChannels && (c % 4 || together * channel_blocks > lanes)) return false;
    terms = quads.of == Of::kRows ? of_rows : of_channels;
  } else {
    quads.planes = kernels.planes && are_planes(gather);
    const bool windows = quads.planes || (windows_fit(gather) && of_windows <= of_rows);
    terms = windows ? of_windows * (gather.columns.kernel > 4 ? 2 : 1) : of_rows;
    quads.of = windows ? Of::kWindows : Of::kRows;
    if (of_channels <= terms && !quads.planes) terms = of_channels, quads.of = Of::kChannels;
    // Loading counts as one more output channel.
    if (!quads_are_fewer(gather, kernels, (double)(k + 1) * terms)) return false;
  }
  const bool columns = gather.layout == Layout::kContiguous;
  quads.outputs = quads.of != Of::kChannels ? rows_together(gather, kernels, quads.of)
                  : columns                 ? smaller(k, kernels.outputs)
                                            : 1;
  if (quads.planes) quads.outputs = 1;  // whose weights all output rows share
  quads.three_rows = is_three_rows(gather, quads.of);
  const bool shifted = quads.outputs > 1 || quads.planes;
  quads.shift = shifted ? gather.rows.src_step / gather.rows.dilation : 0;
  quads.blocks = quads.of == Of::kRows ? row_blocks : quads.of == Of::kWindows ? 1 : channel_blocks;
  if (terms > kMostQuadTerms) return false;
  quads.terms = (int64_t)terms;
  if (quads.of == Of::kWindows && !quads.planes)
    quads.terms += c * (quads.outputs - 1) * quads.shift;
  return true;
}

inline bool plan_quads(const Conv2dShape& d, const IntegerKernels& kernels, IntegerPlan& made,
                       Plan& plan) {
  const Gather& gather = made.gather;
  const Axis& columns = gather.columns;
  Quads& quads = made.quads;
  if (!choose_quads(gather, kernels, quads)) return false;
  const bool last = gather.layout == Layout::kChannelsLast;
  const bool rows = quads.of == Quads::Of::kRows, windows = quads.of == Quads::Of::kWindows;
  const int64_t lanes = kernels.lanes, k = gather.dst_channels;
  const auto columns_wanted = [&](auto one) {
    using T = decltype(one);
    return (T)(columns.dst_size - 1) * (T)columns.src_step +
           (T)(columns.kernel - 1) * (T)columns.dilation + 1;
  };
  const double most = 4.0 * (double)(quads.blocks * gather.src_channels) *
                      (columns_wanted(1.0) + 2.0 * (double)(lanes + 1) * (double)columns.src_step) *
                      (last ? (double)kQuadLanes : 1.0);
  const double down = (double)(gather.rows.kernel - 1) * (double)gather.rows.dilation + 1;
  if (most * (quads.of == Quads::Of::kRows ? 1.0 : down) > kMostIntegerPatch) return false;
  made.way = IntegerPlan::Way::kQuads;
  made.offset = made.is_signed ? 128 : 0;
  quads.wanted = columns_wanted(int64_t{1});
  if (last) {
    const int64_t parts = ceil_div(d.k, rows ? larger(kQuadLanes, lanes) : lanes);
    quads.lanes = round_up(ceil_div(d.k, parts), lanes);
    quads.loads = ceil_div(d.k, quads.lanes);
    quads.residues = 1, quads.columns = quads.wanted;
    quads.units = ceil_div(d.k, lanes);
  } else {
    quads.lanes = 1;
    quads.loads = gather.groups;
    quads.residues = columns.src_step;
    quads.columns = round_up(columns.dst_size, lanes) +
                    (columns.kernel - 1) * columns.dilation / columns.src_step + 1;
    quads.units =
        quads.of != Quads::Of::kChannels ? d.k : gather.groups * ceil_div(k, quads.outputs);
  }
  quads.start_bytes = 4 * quads.outputs * (last ? lanes : 1);
  quads.unit_bytes = quads.terms * quads.start_bytes;
  quads.line_bytes = 4 * quads.lanes * quads.columns * quads.residues;
  if (windows) {  // of the last vector, as far as a vector reaches
    quads.residues = 1;
    quads.line_bytes = round_up(round_up(columns.dst_size, lanes) * columns.src_step + 64, 64);
  }
  const bool whole = !last || quads.lanes == d.c;  // rows are interleaved at once
  quads.spare_bytes = round_up(quads.lanes * (whole ? columns.src_size : 1), 64);
  const auto lines = [&](int64_t count) {
    if (quads.planes) return int64_t{0};
    if (rows) return quads.blocks * gather.src_channels;
    return (windows ? gather.src_channels : quads.blocks) * made.source_rows(count);
  };
  const int64_t pixels = last ? kIntegerJobPixels : kQuadJobPixels;
  made.rows =
      integer_rows(gather, pixels, [&](int64_t rows) { return lines(rows) * quads.line_bytes; });
  if (quads.of != Quads::Of::kChannels) {
    const int64_t together = quads.planes ? kernels.outputs : quads.outputs;
    made.rows = Cut::of(round_up(made.rows.size, together), gather.rows.longest);
  }
  made.patch_bytes = round_up(lines(made.rows.size) * quads.line_bytes, 64);
  made.row_bytes = quads.residues > 1 ? round_up(4 * quads.wanted, 64) : 0;
  const int64_t jobs = gather.n * made.rows.count;
  made.pieces = parts_for_threads(jobs, plan.threads, quads.loads);
  plan.stages = 2;
  plan.jobs[0] = made.pack_jobs = smaller(quads.units, plan.threads);
  plan.jobs[1] = jobs * made.pieces;
  plan.shared_bytes = quads.units * (quads.unit_bytes + quads.start_bytes);
  plan.scratch_bytes = made.patch_bytes + made.row_bytes + quads.spare_bytes + 8 * quads.terms;
  return true;
}

inline void plan_integers(const Conv2dShape& given, bool is_signed, const IntegerKernels& kernels,
                          Plan& plan) {
  const Conv2dShape d = simplified_integers(given);
  IntegerPlan made{};
  made.gather = make_gather(Op::kForward, d);
  made.is_signed = is_signed;
  made.offset = is_signed ? kernels.offset : 0;
  if (!plan_quads(d, kernels, made, plan)) {
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

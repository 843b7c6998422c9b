// How pixel_lanes cuts a layer into jobs. A pure function of the per-image shape, dtype and layout.
//
// A job reads its source as planes: those elements of one channel whose coordinates leave the same
// remainder modulo the stride, padding included. Within a plane every tap is the same walk over a
// flat pixel axis, shifted:
//
//     destination position (image, i, j)  =  image * image_pitch + i * pitch + j
//     what a tap reads                    =  that + plane + shift_row * pitch + shift_column
//
// Positions with j beyond the destination's width are computed and dropped. The pitch is as short
// as it can be: zeros that end a row begin the next one, zero rows that end an image begin the next
// one.
#pragma once

#include "cpu/channel_plan.h"

namespace torchconv::cpu {

// Planes of one axis: tap t of the forward operator reads plane t % count, every tap of the other
// plane 0.
inline int64_t plane_count(const Axis& a) {
  return a.forward ? smaller(a.kernel, a.stride / greatest_common_divisor(a.stride, a.dilation))
                   : 1;
}

// Position i of a plane lies at source coordinate i * src_step + src_low + plane_first.
inline int64_t plane_first(const Axis& a, int64_t plane) {
  return plane * a.dilation % a.src_step;
}

// How many zeros every plane has both before its first and after its last element of the source.
inline int64_t shared_zeros(const Axis& a, int64_t length) {
  int64_t shared = length - 1;
  for (int64_t plane = 0; plane < plane_count(a); ++plane) {
    const int64_t first = a.src_low + plane_first(a, plane);
    const int64_t before = first < 0 ? ceil_div(-first, a.src_step) : 0;
    const int64_t end = a.src_size > first ? ceil_div(a.src_size - first, a.src_step) : 0;
    shared = larger(0, smaller(shared, smaller(before, length - end)));
  }
  return shared;
}

// Rows of a phase from `first` on that reach the source with the same taps, [r_begin, r_end).
struct TapRun {
  int64_t end, r_begin, r_end;

  TapRun(const Axis& axis, const AxisPhase& phase, int64_t first, int64_t last) : end(first + 1) {
    inner_taps(axis, phase, first, first, r_begin, r_end);
    for (int64_t begin = r_begin, stop = r_end; end < last; ++end) {
      inner_taps(axis, phase, end, end, begin, stop);
      if (begin != r_begin || stop != r_end) break;
    }
  }
};

struct PixelPlan {
  int64_t lanes;
  int64_t panels;  // a group's destination channels in blocks of at most eight
  int64_t pieces;  // jobs share the panels among them
  // A job covers rows x columns positions of `images` images and `groups` groups.
  int64_t images, groups, rows, columns;
  int64_t group_jobs, row_jobs, column_jobs;
  int64_t chunk, chunks;  // source channels are summed in `chunks` of `chunk`
  bool in_place;   // the planes are the source itself, but where a vector would leave the tensor
  bool merged;     // one walk over all images of a job, else one for each
  bool by_taps;    // a walk is cut where rows begin to see other taps, if the weights are finite
  bool direct;     // a walk is a run of destination elements
  bool by_rows;    // so are its rows, each walked on its own
  bool keep_sums;  // the sums of all channels of a job are kept, else those of one panel
  // The band: [channel][row plane][column plane][image][row][column]
  int64_t row_planes, column_planes;
  int64_t band_rows, band_columns;
  int64_t pitch, image_pitch, plane_pitch;
  int64_t walk;                                // positions of one walk
  int64_t sums_image;                          // from the sums of one image to the next
  int64_t sums_pitch;                          // from the sums of one channel to the next
  int64_t band_size, offsets_size, sums_size;  // elements per thread
  int64_t packed_size, pack_jobs;  // elements per call: weights, then a flag for each panel

  int64_t channel_pitch() const { return row_planes * column_planes * plane_pitch; }
  int64_t panel_begin(int64_t panel, int64_t dst_channels) const {
    return panel * dst_channels / panels;
  }
  int64_t piece_begin(int64_t piece) const { return piece * panels / pieces; }
};

constexpr int64_t kPanelRows = 8;      // kTileRows of the micro-kernel
constexpr int64_t kWidestJob = 1024;   // columns
constexpr int64_t kPixelsOfJob = 384;  // at least, where the layer has them
constexpr double kLeastWork = 512e3;   // multiply-adds of a job
constexpr double kMostWork = 2e6;
constexpr int64_t kMergedImages = 16;
// Rows of the result are summed where they lie, one by one, if they and their tiles are long enough.
constexpr int64_t kDirectColumns = 96, kDirectChannels = 16;
constexpr double kRunSteps = 16;               // what it costs to begin a run of a walk
constexpr int64_t kPackedElements = 32 << 10;  // per job of stage 0

// If a walk over one image repays to be cut into runs, each of which leaves out the rows of taps that
// only see padding: a tenth of the multiply-adds.
inline bool padding_repays(const Gather& g, int64_t lanes, int64_t pitch) {
  const auto walk = [&](int64_t rows) {
    return (double)round_up((rows - 1) * pitch + g.columns.longest, lanes);
  };
  // Fewer rows than these see padding, and not with every tap.
  const Axis& a = g.rows;
  const int64_t outside =
      larger(0, -a.src_low) + larger(0, (a.longest - 1) * a.src_step + a.src_high - a.src_size + 1);
  if (10 * ceil_div(outside, a.src_step) < a.longest) return false;
  const double steps = (double)g.src_channels * g.columns.kernel / g.columns.phases;
  double whole = 0, runs = 0;
  for (int64_t i = 0; i < g.rows.phases; ++i) {
    const AxisPhase rows = g.rows.phase(i);
    whole += walk(g.rows.longest) * steps * rows.taps;
    for (int64_t first = 0; first < rows.size;) {
      const TapRun run(g.rows, rows, first, rows.size);
      runs += walk(run.end - first) * (kRunSteps + steps * (run.r_end - run.r_begin));
      first = run.end;
    }
  }
  return runs < 0.9 * whole;
}

inline Gather make_pixel_gather(Op op, const Conv2dShape& d) {
  return make_gather(op, d, true);
}

inline PixelPlan make_pixel_plan(const Gather& g, Dtype dtype) {
  const int64_t element = dtype == Dtype::kFloat64 ? 8 : 4;
  const bool element_is_compute = dtype == Dtype::kFloat32 || dtype == Dtype::kFloat64;
  PixelPlan z{};
  z.lanes = 64 / element;
  z.panels = ceil_div(g.dst_channels, kPanelRows);
  z.row_planes = plane_count(g.rows), z.column_planes = plane_count(g.columns);
  const int64_t planes = z.row_planes * z.column_planes;
  const int64_t halo_rows = (g.rows.src_high - g.rows.src_low) / g.rows.src_step;
  const int64_t halo_columns = (g.columns.src_high - g.columns.src_low) / g.columns.src_step;
  const int64_t height = g.rows.longest, width = g.columns.longest;

  // Jobs of equal work: about eight of them for a middling image, several images for a tiny one.
  const double position_work = (double)g.src_channels * g.dst_channels * g.taps();
  const double image_work = position_work * g.groups * height * width;
  const double work = image_work / kJobsPerImage < kLeastWork  ? kLeastWork
                      : image_work / kJobsPerImage > kMostWork ? kMostWork
                                                               : image_work / kJobsPerImage;
  const int64_t positions = larger(kPixelsOfJob, (int64_t)(work / position_work) + 1);
  const int64_t least_chunk = smaller(g.src_channels, 64);
  const int64_t band_positions = larger(1, kBandBytes / (element * planes * least_chunk));

  z.column_jobs = ceil_div(width, height == 1 ? smaller(positions, band_positions) : kWidestJob);
  z.columns = z.column_jobs == 1 ? width : round_up(ceil_div(width, z.column_jobs), z.lanes);
  z.column_jobs = ceil_div(width, z.columns);
  z.band_columns = z.columns + halo_columns;
  const int64_t band_room = larger(1, band_positions / z.band_columns - halo_rows);
  z.row_jobs =
      ceil_div(height, smaller(band_room, larger(halo_rows, ceil_div(positions, z.columns))));
  z.rows = ceil_div(height, z.row_jobs);
  z.row_jobs = ceil_div(height, z.rows);
  z.band_rows = z.rows + halo_rows;
  z.in_place = g.layout == Layout::kContiguous && element_is_compute && g.rows.src_step == 1 &&
               g.columns.src_step == 1 && g.rows.inside() && g.columns.inside();
  z.pitch = z.in_place           ? g.columns.src_size
            : z.column_jobs == 1 ? z.band_columns - shared_zeros(g.columns, z.band_columns)
                                 : z.band_columns;
  z.image_pitch =
      z.pitch * (z.row_jobs == 1 ? z.band_rows - shared_zeros(g.rows, z.band_rows) : z.band_rows);

  // An odd number of cache lines from plane to plane spreads the channels over the sets of a cache.
  const auto odd_lines = [&](int64_t size) { return (ceil_div(size, z.lanes) | 1) * z.lanes; };
  const auto plane_size = [&](int64_t images) {
    return odd_lines((images - 1) * z.image_pitch + (z.band_rows - 1) * z.pitch + z.band_columns);
  };
  const int64_t group_bytes = g.src_channels * planes * plane_size(1) * element;
  const double job_work = position_work * z.rows * z.columns;
  z.groups = larger(
      1, smaller(g.groups, smaller(kBandBytes / group_bytes, (int64_t)(work / job_work + 0.5))));
  z.group_jobs = ceil_div(g.groups, z.groups);
  z.groups = ceil_div(g.groups, z.group_jobs);
  z.group_jobs = ceil_div(g.groups, z.groups);
  z.images = 1;
  if (z.group_jobs * z.row_jobs * z.column_jobs == 1) {
    const int64_t fitting =
        kBandBytes / (g.groups * g.src_channels * planes * z.image_pitch * element + 1);
    z.images =
        larger(1, smaller(smaller(kMergedImages, fitting), (int64_t)(work / image_work + 0.5)));
  }
  z.plane_pitch = plane_size(z.images);
  z.chunk = z.groups > 1 || z.images > 1
                ? g.src_channels
                : smaller(g.src_channels, kBandBytes / (planes * z.plane_pitch * element));
  z.chunk = larger(1, z.chunk / g.block) * g.block;
  z.chunks = ceil_div(g.src_channels, z.chunk);
  z.chunk = round_up(ceil_div(g.src_channels, z.chunks), g.block);
  z.chunks = ceil_div(g.src_channels, z.chunk);
  const int64_t jobs = z.group_jobs * z.row_jobs * z.column_jobs;
  z.pieces = larger(1, smaller(z.panels, smaller(ceil_div(kJobsPerImage, jobs),
                                                 (int64_t)(job_work / kLeastWork))));
  if (z.groups > 1) z.pieces = 1;

  const int64_t one_walk = (z.rows - 1) * z.pitch + z.columns;
  const int64_t merged_walk = (z.images - 1) * z.image_pitch + one_walk;
  z.by_taps = z.chunks == 1 && z.row_jobs == 1 && z.column_jobs == 1 && !z.in_place &&
              padding_repays(g, z.lanes, z.pitch);
  const bool result_is_sums =
      g.layout == Layout::kContiguous && element_is_compute && g.phases() == 1;
  const bool flat = z.rows == 1 || (z.column_jobs == 1 && z.pitch == width);
  z.by_rows = result_is_sums && !flat && !z.by_taps && z.columns >= kDirectColumns &&
              g.dst_channels >= kDirectChannels;
  z.merged = !z.in_place && !z.by_taps && !z.by_rows &&
             round_up(merged_walk, z.lanes) <= z.images * round_up(one_walk, z.lanes);
  z.walk = z.merged ? merged_walk : one_walk;
  // The last block of a run ends beyond its positions, wherever the run begins.
  z.sums_image = z.merged    ? z.image_pitch
                 : z.by_taps ? round_up(one_walk, z.lanes) + z.lanes
                             : round_up(one_walk, z.lanes);
  z.sums_pitch = odd_lines(z.merged ? merged_walk : z.images * z.sums_image);
  z.direct = result_is_sums && (flat || z.by_rows) && (!z.merged || z.images == 1);
  z.keep_sums = !z.direct && (z.chunks > 1 || g.layout == Layout::kChannelsLast);
  const int64_t piece_channels = smaller(g.dst_channels, ceil_div(z.panels, z.pieces) * kPanelRows);
  const int64_t sums_channels = z.keep_sums ? z.groups * piece_channels : kPanelRows;

  z.band_size = z.groups * z.chunk * planes * z.plane_pitch + 4 * z.lanes;
  z.offsets_size = z.chunk * g.taps();
  z.sums_size = z.direct ? kPanelRows * z.lanes
                         : sums_channels * z.sums_pitch * (z.chunks > 1 ? g.phases() : 1);
  z.packed_size = g.groups * g.dst_channels * g.src_channels * g.taps();
  z.pack_jobs = smaller(g.groups * z.panels, ceil_div(z.packed_size, kPackedElements));
  return z;
}

inline int64_t pixel_scratch_bytes(const PixelPlan& z, Dtype dtype) {
  const int64_t element = dtype == Dtype::kFloat64 ? 8 : 4;
  return (z.band_size + z.sums_size) * element + z.offsets_size * (int64_t)sizeof(int64_t);
}

}  // namespace torchconv::cpu

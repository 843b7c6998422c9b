// How dense_pixels cuts a layer into jobs.
//
// A job reads its source as residue planes: those elements of one channel whose coordinates leave the
// same remainder modulo the stride, padding included. Within such a plane every tap reads the same
// span of a flat axis of pixels, shifted:
//
//     destination position (image, i, j)  =  image * image_pitch + i * pitch + j
//     what a tap reads                    =  that + plane + shift_row * pitch + shift_column
//
// Positions with j beyond the destination's width are computed and dropped. The pitch is as short as
// it can be. Neighbouring rows share one margin: the zeros right of a row are the zeros left of the
// next. Likewise between images.
#pragma once

#include "cpu/dense_pixels/residue.h"

namespace torchconv::cpu {

// The source of a job: [channel][row plane][column plane][image][row][column].
struct ResiduePlanes {
  int64_t of_rows, of_columns;  // how many there are
  int64_t rows, columns;        // of each
  int64_t pitch, image_pitch, plane_pitch;

  int64_t count() const { return of_rows * of_columns; }
  int64_t channel_pitch() const { return count() * plane_pitch; }
};

// A group's destination channels in panels of at most kPixelPanel channels, shared by jobs as pieces.
struct PixelPanels {
  int64_t channels, count, pieces;

  int64_t begin(int64_t panel) const { return panel * channels / count; }
  int64_t width(int64_t panel) const { return begin(panel + 1) - begin(panel); }
  Range of_piece(int64_t piece) const { return share(piece, pieces, count); }
};

constexpr int64_t kPixelPanel = 8;  // kTileRows of the register tile

struct PixelPlan {
  // Over which spans of the flat axis a tile sums.
  enum class Walk {
    kPerImage,  // one span for each image
    kMerged,    // one for all images of a job
    kTapSpans,  // spans of rows that see the same taps, if the weights are finite
    kRows,      // row by row
  };
  // Where sums are kept until they are complete.
  enum class SumsIn {
    kResult,  // a span lies in the result as it does on the flat axis
    kJob,     // the sums of all channels of a job
    kPanel,   // those of one panel
  };

  int64_t lanes;
  PixelPanels panels;
  int64_t images;  // of a job
  Cut groups, rows, columns;
  Cut c_chunk;    // source channels are summed in these
  bool in_place;  // the planes are the source itself, but where a vector would leave the tensor
  ResiduePlanes planes;
  Walk walk;
  struct {
    SumsIn in;
    int64_t image_pitch, channel_pitch;
    int64_t phases;  // of the columns, whose sums are stored together
  } sums;
  struct {
    int64_t planes, offsets, sums;  // elements per thread
  } scratch;
  struct {
    int64_t size;  // elements per call: weights, then a flag for each panel
    int64_t jobs;
  } packed;

  // Jobs that share the panels of one part of an image.
  int64_t parts() const { return groups.count * rows.count * columns.count; }
};

// Jobs of equal work: about kJobsPerImage of them for a middling image, several images for a tiny one.
struct PixelWork {
  double of_position, of_image, of_job;

  explicit PixelWork(const Gather& gather) {
    of_position = (double)gather.src_channels * gather.dst_channels * gather.taps();
    of_image = of_position * gather.groups * gather.rows.longest * gather.columns.longest;
    const double share = of_image / cost::kJobsPerImage;
    of_job = share < cost::kPixelWork       ? cost::kPixelWork
             : share > cost::kMostPixelWork ? cost::kMostPixelWork
                                            : share;
  }
};

// Rows and columns of a job, and the planes behind them.
inline void cut_positions(PixelPlan& plan, const Gather& gather, Dtype dtype,
                          const PixelWork& work) {
  using namespace cost;
  const int64_t element = compute_bytes(dtype);
  const int64_t height = gather.rows.longest, width = gather.columns.longest;
  const int64_t halo_rows = (gather.rows.src_high - gather.rows.src_low) / gather.rows.src_step;
  const int64_t halo_columns =
      (gather.columns.src_high - gather.columns.src_low) / gather.columns.src_step;
  ResiduePlanes& planes = plan.planes;
  planes.of_rows = plane_count(gather.rows), planes.of_columns = plane_count(gather.columns);

  const int64_t positions = larger(kPixelsOfJob, (int64_t)(work.of_job / work.of_position) + 1);
  const int64_t least_chunk = smaller(gather.src_channels, kLeastChunkChannels);
  const int64_t room = larger(1, kPatchBytes / (element * planes.count() * least_chunk));
  const int64_t column_jobs = ceil_div(width, height == 1 ? smaller(positions, room) : kWidestJob);
  plan.columns =
      Cut::of(column_jobs == 1 ? width : round_up(ceil_div(width, column_jobs), plan.lanes), width);
  planes.columns = plan.columns.size + halo_columns;
  const int64_t room_rows = larger(1, room / planes.columns - halo_rows);
  const int64_t rows = larger(halo_rows, ceil_div(positions, plan.columns.size));
  plan.rows = Cut::into(ceil_div(height, smaller(room_rows, rows)), height);
  planes.rows = plan.rows.size + halo_rows;

  plan.in_place = gather.layout == Layout::kContiguous && !is_half(dtype) &&
                  gather.rows.src_step == 1 && gather.columns.src_step == 1 &&
                  gather.rows.inside() && gather.columns.inside() && !gather.margins.any();
  planes.pitch = plan.in_place ? gather.columns.src_size : planes.columns;
  if (!plan.in_place && plan.columns.count == 1) {
    planes.pitch -= shared_zeros(gather.columns, planes.columns);
  }
  planes.image_pitch =
      planes.pitch *
      (planes.rows - (plan.rows.count == 1 ? shared_zeros(gather.rows, planes.rows) : 0));
}

// Groups, images and source channels of a job, as many as fit.
inline void cut_channels(PixelPlan& plan, const Gather& gather, Dtype dtype,
                         const PixelWork& work) {
  using namespace cost;
  const int64_t element = compute_bytes(dtype);
  ResiduePlanes& planes = plan.planes;
  const auto plane_pitch = [&](int64_t images) {
    const int64_t last_image = (planes.rows - 1) * planes.pitch + planes.columns;
    return odd_lines((images - 1) * planes.image_pitch + last_image, plan.lanes);
  };
  const int64_t c = gather.src_channels;
  const int64_t group_bytes = c * planes.count() * plane_pitch(1) * element;
  const double job_work = work.of_position * plan.rows.size * plan.columns.size;
  const int64_t groups = larger(
      1, smaller(gather.groups,
                 smaller(kPatchBytes / group_bytes, (int64_t)(work.of_job / job_work + 0.5))));
  plan.groups = Cut::into(ceil_div(gather.groups, groups), gather.groups);
  plan.images = 1;
  if (plan.parts() == 1) {
    const int64_t image_bytes = gather.groups * c * planes.count() * planes.image_pitch * element;
    const int64_t fitting = smaller(kMergedImages, kPatchBytes / (image_bytes + 1));
    plan.images = larger(1, smaller(fitting, (int64_t)(work.of_job / work.of_image + 0.5)));
  }
  planes.plane_pitch = plane_pitch(plan.images);
  int64_t chunk = c;
  if (plan.groups.size == 1 && plan.images == 1) {
    chunk = smaller(c, kPatchBytes / (planes.channel_pitch() * element));
  }
  plan.c_chunk = gather.channel_chunks(chunk);
  PixelPanels& panels = plan.panels;
  panels.channels = gather.dst_channels;
  panels.count = ceil_div(gather.dst_channels, kPixelPanel);
  panels.pieces = larger(1, smaller(panels.count, smaller(ceil_div(kJobsPerImage, plan.parts()),
                                                          (int64_t)(job_work / kPixelWork))));
  if (plan.groups.size > 1) panels.pieces = 1;
}

// How the flat axis is walked, and where the sums are kept.
inline void choose_walk(PixelPlan& plan, const Gather& gather, Dtype dtype) {
  using namespace cost;
  using Walk = PixelPlan::Walk;
  using SumsIn = PixelPlan::SumsIn;
  const ResiduePlanes& planes = plan.planes;
  const int64_t one_image = (plan.rows.size - 1) * planes.pitch + plan.columns.size;
  const int64_t all_images = (plan.images - 1) * planes.image_pitch + one_image;
  const int64_t blocks_of_one = round_up(one_image, plan.lanes);
  const bool whole_image = plan.rows.count == 1 && plan.columns.count == 1;
  const bool result_is_sums =
      gather.layout == Layout::kContiguous && !is_half(dtype) && gather.phases() == 1;
  const bool flat =
      plan.rows.size == 1 || (plan.columns.count == 1 && planes.pitch == gather.columns.longest);
  if (plan.c_chunk.count == 1 && whole_image && !plan.in_place &&
      spans_repay(gather, plan.lanes, planes.pitch)) {
    plan.walk = Walk::kTapSpans;
  } else if (result_is_sums && !flat && plan.columns.size >= kDirectColumns &&
             gather.dst_channels >= kDirectChannels) {
    plan.walk = Walk::kRows;
  } else if (!plan.in_place && round_up(all_images, plan.lanes) <= plan.images * blocks_of_one) {
    plan.walk = Walk::kMerged;
  } else {
    plan.walk = Walk::kPerImage;
  }
  const bool merged = plan.walk == Walk::kMerged;
  if (result_is_sums && (flat || plan.walk == Walk::kRows) && (!merged || plan.images == 1)) {
    plan.sums.in = SumsIn::kResult;
  } else if (plan.c_chunk.count > 1 || gather.layout == Layout::kChannelsLast) {
    plan.sums.in = SumsIn::kJob;
  } else {
    plan.sums.in = SumsIn::kPanel;
  }
  const bool alternate = gather.layout == Layout::kContiguous && gather.columns.phases == 2 &&
                         gather.columns.dst_step == 2;
  plan.sums.phases = alternate && plan.sums.in != SumsIn::kResult ? 2 : 1;
  // The last block of a span ends beyond its positions, wherever the span begins.
  plan.sums.image_pitch = merged                         ? planes.image_pitch
                          : plan.walk == Walk::kTapSpans ? blocks_of_one + plan.lanes
                                                         : blocks_of_one;
  plan.sums.channel_pitch =
      odd_lines(merged ? all_images : plan.images * plan.sums.image_pitch, plan.lanes);
}

inline PixelPlan make_pixel_plan(const Gather& gather, Dtype dtype) {
  PixelPlan plan{};
  plan.lanes = block_lanes(dtype);
  const PixelWork work(gather);
  cut_positions(plan, gather, dtype, work);
  cut_channels(plan, gather, dtype, work);
  choose_walk(plan, gather, dtype);

  const int64_t piece_channels =
      smaller(gather.dst_channels, ceil_div(plan.panels.count, plan.panels.pieces) * kPixelPanel);
  const int64_t sums_channels =
      plan.sums.in == PixelPlan::SumsIn::kJob ? plan.groups.size * piece_channels : kPixelPanel;
  plan.scratch.planes =
      plan.groups.size * plan.c_chunk.size * plan.planes.channel_pitch() + 4 * plan.lanes;
  plan.scratch.offsets = plan.c_chunk.size * gather.taps();
  plan.scratch.sums = plan.sums.in == PixelPlan::SumsIn::kResult
                          ? kPixelPanel * plan.lanes
                          : sums_channels * plan.sums.channel_pitch *
                                (plan.c_chunk.count > 1 ? gather.phases() : plan.sums.phases);
  plan.packed.size = gather.groups * gather.dst_channels * gather.src_channels * gather.taps();
  plan.packed.jobs =
      smaller(gather.groups * plan.panels.count, ceil_div(plan.packed.size, cost::kPackedElements));
  return plan;
}

inline int64_t pixel_scratch_bytes(const PixelPlan& plan, Dtype dtype) {
  return (plan.scratch.planes + plan.scratch.sums) * compute_bytes(dtype) +
         plan.scratch.offsets * (int64_t)sizeof(int64_t);
}

}  // namespace torchconv::cpu

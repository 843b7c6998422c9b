// How depthwise cuts a layer into jobs.
//
// Two ways to fill a vector. Pixels in the lanes: neighbours of a row of one plane, weights broadcast;
// also for the few channels of an image in channels_last, whose planes are taken apart while loading.
// Channels in the lanes: neighbouring channels of one pixel, for channels_last and for maps too narrow
// to fill a vector. A block is what one load of the patch serves: a plane, or a vector of channels.
#pragma once

#include "cpu/depthwise/transposing.h"

namespace torchconv::cpu {

struct DepthwisePlan {
  // How a job reads its source where all weights are finite, so that padding adds nothing, or where padding
  // repeats elements of the source.
  enum class Unpadded {
    kNever,    // as ever, from a padded patch
    kInPlace,  // in the tensor: tiles skip padding, or read what it repeats
    kCopied,   // from a patch without padding
  };

  int64_t lanes;  // of a block, 64 bytes on every level
  bool channels_in_lanes;
  bool strips;
  bool even_odd;  // weights are packed once more, by pairs of blocks (pixel_run.h)
  Unpadded unpadded;
  Margins
      folded;  // of the destination: what is there is added to the pixels that it repeats (fold.h)
  int64_t blocks, parts;  // of one image; jobs share the blocks, as `parts` parts
  Cut rows;
  int64_t images;         // of a job, where it has all of each
  int64_t tile_blocks;    // in place: blocks that one row of tiles serves before the next ones
  bool staged;            // strips of rows that are no whole cache lines are summed aside
  int64_t copied_blocks;  // that a patch without padding holds at once, or are summed aside
  bool copies_planes;     // such a patch holds all rows, else those that the job sees
  DepthwisePatch patch;
  struct {
    int64_t row, step, plane;  // pitches
    int64_t size;              // elements per call: blocks of weights, then a flag for each
    int64_t even_odd;          // where those of pairs of blocks begin
    int64_t pack_blocks;       // packed by one job
  } weights;
  struct {
    int64_t patch, bias, sums, folded, staged, offsets;  // elements per thread
  } scratch;

  int64_t weight_block() const { return weights.size / blocks; }
  // Of the result, without what is folded.
  int64_t height(const Gather& gather) const {
    return gather.rows.dst_size - folded.top - folded.bottom;
  }
  int64_t width(const Gather& gather) const {
    return gather.columns.dst_size - folded.left - folded.right;
  }
  // Of the patch that has padding.
  int64_t patch_rows() const { return patch.plane_pitch / patch.row_pitch; }
  // Rows of the source in the one without padding, of a job that begins with this position, and at most.
  Range copied_rows(const Gather& gather, int64_t row_begin) const {
    if (copies_planes) return {0, gather.src_height()};
    const int64_t first = row_begin * gather.rows.src_step + gather.rows.src_low;
    return {larger(0, first), smaller(gather.src_height(), first + patch_rows())};
  }
  int64_t most_copied_rows(const Gather& gather) const {
    return copies_planes ? gather.src_height() : smaller(gather.src_height(), patch_rows());
  }
  // Pairs of blocks stay together.
  Range blocks_of(int64_t part) const {
    if (!even_odd) return share(part, parts, blocks);
    const Range pairs = share(part, parts, ceil_div(blocks, 2));
    return {2 * pairs.begin, smaller(blocks, 2 * pairs.end)};
  }
};

// How the source is read where padding may be left out.
inline DepthwisePlan::Unpadded choose_unpadded(const DepthwisePlan& plan, const Gather& gather,
                                               Dtype dtype, Isa isa) {
  using Unpadded = DepthwisePlan::Unpadded;
  const bool runs = isa >= Isa::kAvx2 && plan.lanes == kRunLanes && rows_are_runs(gather);
  // Runs and strips of floats find in the source what padding repeats.
  if (gather.margins.any() && !(plan.channels_in_lanes ? runs : plan.lanes == kRunLanes)) {
    return Unpadded::kNever;
  }
  const bool channels_last = gather.layout == Layout::kChannelsLast;
  const bool one_to_one = gather.src_channels == 1 && gather.dst_channels == 1;
  if (plan.channels_in_lanes) {
    const bool small_kernel =
        gather.rows.kernel <= cost::kInPlaceKernel && gather.columns.kernel <= cost::kInPlaceKernel;
    if (!one_to_one || !(small_kernel || runs)) return Unpadded::kNever;
    // Nothing is loaded beyond a pixel: tiles load whole vectors only.
    if (channels_last) {
      return gather.groups % plan.lanes == 0 || runs ? Unpadded::kInPlace : Unpadded::kNever;
    }
    const DepthwisePatch& patch = plan.patch;
    return patch.row_skip == 1 && patch.column_skip == 1 ? Unpadded::kCopied : Unpadded::kNever;
  }
  if (!plan.strips) return Unpadded::kNever;
  if (!is_half(dtype)) {
    const bool one_plane = !channels_last || gather.groups * gather.src_channels == 1;
    return one_plane ? Unpadded::kInPlace : Unpadded::kNever;
  }
  const bool every_pixel = gather.columns.dst_step == 1 && gather.rows.dst_step == 1;
  return one_to_one && !channels_last && every_pixel ? Unpadded::kCopied : Unpadded::kNever;
}

// The most rows of a job whose patch fits.
inline int64_t depthwise_job_rows(const DepthwisePlan& plan, const Gather& gather, int64_t element,
                                  bool in_pixels) {
  using namespace cost;
  const int64_t budget = plan.channels_in_lanes ? kChannelPatchBytes : kPlanePatchBytes;
  const int64_t halo = gather.rows.src_high - gather.rows.src_low;
  int64_t rows = 1;
  while (rows < gather.rows.longest) {
    const DepthwisePatch patch = make_depthwise_patch(gather, plan.channels_in_lanes,
                                                      gather.src_channels, rows + 1, plan.lanes);
    const int64_t bytes = patch.size * element;
    // A large kernel repays a large patch: few rows would load their halo again and again.
    if (bytes > budget && (rows >= larger(halo, kDepthwiseRows) || bytes > kLargestPatchBytes)) {
      break;
    }
    ++rows;
  }
  if (!in_pixels) return rows;
  const double row_work = (double)gather.columns.longest * gather.taps() *
                          (double)(gather.groups * gather.dst_channels);
  return smaller(rows, larger(kInPlaceRows, (int64_t)(kDepthwiseWork / row_work)));
}

// The blocks and images of a job.
inline void share_blocks(DepthwisePlan& plan, const Gather& gather, bool in_pixels,
                         int64_t threads) {
  using namespace cost;
  const double block_work = (double)plan.rows.size * gather.columns.longest * gather.src_channels *
                            gather.taps() * (plan.channels_in_lanes ? plan.lanes : 1);
  int64_t job_blocks = smaller(plan.blocks, larger(1, (int64_t)(kDepthwiseWork / block_work)));
  if (in_pixels) job_blocks = smaller(plan.blocks, larger(job_blocks, kInPlaceBlocks));
  // Planes of channels_last share their cache lines: one job writes them all.
  if (gather.layout == Layout::kChannelsLast && !plan.channels_in_lanes) job_blocks = plan.blocks;
  const int64_t apart = plan.even_odd ? ceil_div(plan.blocks, 2) : plan.blocks;
  int64_t parts = ceil_div(plan.blocks, job_blocks);
  if (plan.folded.any()) parts = larger(parts, ceil_div(threads, larger(1, gather.n)));
  plan.parts = Cut::into(smaller(apart, parts), apart).count;
  plan.images = 1;
  if (plan.rows.count == 1 && plan.parts == 1) {
    plan.images = larger(
        1, smaller(kMostDepthwiseImages, (int64_t)(kDepthwiseWork / (block_work * plan.blocks))));
  }
}

// Strips store whole cache lines past the caches where these are none: rows of other lengths have to be put together.
inline bool is_staged(const DepthwisePlan& plan, const Gather& gather, int64_t element, Isa isa) {
  const int64_t elements = gather.n * plan.blocks * gather.rows.dst_size * gather.columns.dst_size;
  return isa >= Isa::kAvx2 && !plan.channels_in_lanes && gather.layout == Layout::kContiguous &&
         plan.unpadded == DepthwisePlan::Unpadded::kInPlace && gather.columns.dst_step == 1 &&
         gather.columns.dst_size % plan.lanes != 0 &&
         plan.patch.size * element <= cost::kLargestPatchBytes &&
         elements * element >=
             (isa >= Isa::kAvx512 ? cost::kStreamedBytes : cost::kStreamedDepthwiseBytesAvx2);
}

inline void size_depthwise_scratch(DepthwisePlan& plan, const Gather& gather, int64_t element,
                                   bool runs) {
  const bool copied = plan.unpadded == DepthwisePlan::Unpadded::kCopied;
  const int64_t rows = plan.rows.size, width = gather.columns.dst_size;
  plan.copied_blocks = 1;
  plan.scratch.patch = plan.patch.size;
  // Planes lie one after the other.
  plan.copies_planes = gather.margins.any() || (plan.rows.count == 1 && !plan.channels_in_lanes);
  if (copied) {
    const int64_t source = plan.most_copied_rows(gather) * gather.src_width() *
                           (plan.channels_in_lanes ? plan.lanes : 1);
    if (plan.rows.count == 1 && !plan.channels_in_lanes) {
      const int64_t both = source + gather.rows.dst_size * width;
      plan.copied_blocks =
          larger(1, smaller(plan.blocks, cost::kPlanePatchBytes / (both * element)));
    } else if (plan.rows.count == 1 && runs) {
      const int64_t both = source + gather.rows.dst_size * width * plan.lanes;
      plan.copied_blocks = larger(
          1, smaller(ceil_div(plan.blocks, plan.parts), cost::kRunPatchBytes / (both * element)));
    }
    plan.scratch.patch = larger(plan.patch.size, round_up(plan.copied_blocks * source, 16));
  }
  if (plan.staged) {
    const int64_t plane = rows * gather.rows.dst_step * width;
    if (plan.rows.count == 1)
      plan.copied_blocks =
          larger(1, smaller(plan.blocks, cost::kPlanePatchBytes / (plane * element)));
    plan.scratch.staged = round_up(plan.copied_blocks * plane, 16);
  }
  const int64_t row_sums =
      plan.channels_in_lanes ? width * plan.lanes
                             : gather.columns.phases * round_up(gather.columns.longest, plan.lanes);
  const bool all_rows = plan.channels_in_lanes && gather.layout == Layout::kContiguous;
  plan.scratch.sums = row_sums * (plan.channels_in_lanes ? plan.copied_blocks : 1) *
                      (all_rows ? rows * gather.rows.dst_step : larger(rows, cost::kDepthwiseRows));
  if (copied && !plan.channels_in_lanes) {
    plan.scratch.sums = larger(plan.scratch.sums, plan.copied_blocks * rows * width);
  }
  const int64_t job_blocks = ceil_div(plan.blocks, plan.parts) + (plan.even_odd ? 1 : 0);
  plan.scratch.bias = round_up(plan.channels_in_lanes ? job_blocks * plan.lanes : job_blocks, 16);
  if (plan.folded.any()) {
    const int64_t padding =
        gather.rows.dst_size * gather.columns.dst_size - plan.height(gather) * plan.width(gather);
    plan.scratch.folded = padding * plan.lanes * (all_rows ? plan.copied_blocks : job_blocks);
  }
  const int64_t repeated_rows = gather.margins.any() ? rows + gather.rows.kernel : 0;
  plan.scratch.offsets =
      round_up(larger(gather.columns.phases * gather.columns.kernel, repeated_rows), 8);
}

// Why a job cannot fold what is in the padding of its destination, or null.
inline const char* cannot_fold(const DepthwisePlan& plan, const Gather& gather, Dtype dtype,
                               Isa isa, int64_t threads) {
  if (isa < Isa::kAvx2 || plan.lanes != kRunLanes || !plan.channels_in_lanes ||
      !rows_are_runs(gather)) {
    return "only runs of pixels add what is in the padding";
  }
  if (plan.unpadded == DepthwisePlan::Unpadded::kNever) return "there would be a padded patch";
  if (gather.n * plan.parts < threads) return "threads would be without a job";
  const int64_t image = gather.rows.dst_size * gather.columns.dst_size * plan.lanes;
  const bool fits = gather.layout == Layout::kChannelsLast ||
                    image * compute_bytes(dtype) <= cost::kLargestPatchBytes;
  return fits ? nullptr : "the gradient of an image does not stay in the cache";
}

// `folded`: of the input, whose gradient the gather computes as that of a padded image.
inline DepthwisePlan make_depthwise_plan(const Gather& gather, Dtype dtype, Isa isa,
                                         int64_t threads, const Margins& folded) {
  const int64_t element = compute_bytes(dtype), channels = gather.groups * gather.dst_channels;
  DepthwisePlan plan{};
  plan.lanes = block_lanes(dtype);
  plan.folded = folded;
  const bool runs = isa >= Isa::kAvx2 && plan.lanes == kRunLanes && rows_are_runs(gather);
  plan.channels_in_lanes =
      depthwise_channels_in_lanes(gather, plan.lanes) || transposes(gather, plan.lanes, isa) ||
      (runs && folded.any() && folds_transposed(gather, element, plan.lanes, isa));
  plan.strips = !plan.channels_in_lanes && gather.src_channels == 1 &&
                gather.columns.src_step == 1 && gather.rows.src_step == 1 &&
                gather.rows.kernel <= kStripRows && gather.columns.kernel <= kStripPitch;
  plan.blocks = plan.channels_in_lanes ? ceil_div(channels, plan.lanes) : channels;
  plan.patch =
      make_depthwise_patch(gather, plan.channels_in_lanes, gather.src_channels, 1, plan.lanes);
  plan.unpadded = choose_unpadded(plan, gather, dtype, isa);
  plan.tile_blocks = larger(1, cost::kTileWeightBytes / (gather.taps() * 64));

  // A job that takes whole pixels, or long parts of them, reads memory as it lies there; one of few
  // blocks and many rows would skip from pixel to pixel, into few sets of the caches.
  const bool in_pixels =
      plan.channels_in_lanes && plan.unpadded == DepthwisePlan::Unpadded::kInPlace;
  plan.even_odd = in_pixels && isa >= Isa::kAvx512 && dtype == Dtype::kBFloat16 &&
                  rows_are_runs(gather) && gather.columns.kernel <= kEvenOddTaps &&
                  !gather.margins.any() && plan.blocks > 1;
  int64_t rows = depthwise_job_rows(plan, gather, element, in_pixels);
  // Threads that share an image have a part of its rows each, as in dense_channels/shared_rows.h.
  if (folded.any()) {
    rows = gather.rows.longest;
  } else if (in_pixels && gather.n < threads) {
    rows = smaller(rows, larger(cost::kLeastSharedRows,
                                rows_of_thread(gather.rows.longest, gather.n, threads)));
  }
  plan.rows = Cut::into(ceil_div(gather.rows.longest, rows), gather.rows.longest);
  plan.patch = make_depthwise_patch(gather, plan.channels_in_lanes, gather.src_channels,
                                    plan.rows.size, plan.lanes);
  // Copied are the rows that a job sees; those that padding repeats may be others.
  if (gather.margins.any() && plan.unpadded == DepthwisePlan::Unpadded::kCopied &&
      plan.rows.count > 1) {
    plan.unpadded = DepthwisePlan::Unpadded::kNever;
  }
  share_blocks(plan, gather, in_pixels, threads);
  plan.staged = is_staged(plan, gather, element, isa);

  auto& weights = plan.weights;
  weights.step = plan.channels_in_lanes ? plan.lanes : 1;
  weights.row = plan.strips ? kStripPitch : gather.columns.kernel * weights.step;
  weights.plane = gather.rows.kernel * weights.row;
  weights.size = plan.blocks * gather.src_channels * weights.plane;
  weights.pack_blocks =
      larger(1, cost::kPackedBytes / (gather.src_channels * weights.plane * element));
  weights.even_odd = round_up(weights.size + plan.blocks, 16);
  if (plan.even_odd) weights.pack_blocks = round_up(weights.pack_blocks, 2);
  size_depthwise_scratch(plan, gather, element, runs);
  return plan;
}

// Elements.
inline int64_t depthwise_shared_size(const DepthwisePlan& plan) {
  const auto& weights = plan.weights;
  return plan.even_odd ? weights.even_odd + weights.size : weights.size + plan.blocks;
}

inline int64_t depthwise_scratch_bytes(const DepthwisePlan& plan, Dtype dtype) {
  const auto& size = plan.scratch;
  return (size.patch + size.bias + size.sums + size.folded + size.staged) * compute_bytes(dtype) +
         size.offsets * (int64_t)sizeof(int64_t);
}

}  // namespace torchconv::cpu

// How dense_channels cuts a layer into jobs.
#pragma once

#include "cpu/common/patch.h"
#include "cpu/dense_channels/shared_rows.h"
#include "cpu/dense_channels/tap_steps.h"

namespace torchconv::cpu {

// The destination channels of a group in blocks of lanes. Jobs share those of one image among them, as
// pieces, each of which is cut into panels of at most kPanelBlocks blocks.
struct ChannelPanels {
  int64_t blocks, pieces, panels;

  int64_t of_piece() const { return panels / pieces; }
  int64_t most_blocks() const { return ceil_div(blocks, pieces); }  // of a piece
  int64_t begin(int64_t panel) const {
    const Range piece = share(panel / of_piece(), pieces, blocks);
    return piece.begin + share(panel % of_piece(), of_piece(), piece.end - piece.begin).begin;
  }
};

struct ChannelPlan {
  // Weights are packed once for all jobs, or by each job, a chunk of a slab just before it is used.
  enum class Packing { kOnce, kInJob };
  // The rows of a register tile are pixels of a row, or the same pixel of several images.
  enum class Tiles { kAlongRows, kAcrossImages };

  int64_t lanes;  // of a block
  ChannelPanels panels;
  Cut c_chunk;     // source channels are summed in these
  Cut groups;      // of a job: several where those of a pixel are loaded together
  Cut rows;        // positions of the row axis
  int64_t images;  // of a job, where it has all rows
  bool by_source;  // the jobs that follow each other have a source in common, else weights
  bool in_place;   // the patch is the source itself
  bool fetches;    // rows of channels_last come from beyond the caches
  bool planar;     // the patch is [channel][row][column], else [row][column][channel]
  Patch patch;
  int64_t image_pitch;  // of the patch
  bool padded;          // some taps see padding only and may be left out
  int64_t stored_rows;  // rows of a contiguous result that are summed before they are stored
  Tiles tiles;
  Packing packing;
  int64_t chunks_at_once;  // patches that are loaded before the first slab is summed
  int64_t patch_size;      // elements of each
  struct {
    int64_t patch, single, offsets, sums, weights;  // elements per thread
  } scratch;
  int64_t packed_size;  // elements per call

  // Jobs with a part of the source of their own; the pieces of one share it.
  int64_t source_jobs(const Gather& gather) const {
    return ceil_div(gather.n, images) * groups.count * rows.count;
  }
  int64_t source_of(int64_t job, const Gather& gather) const {
    return by_source ? job / panels.pieces : job % source_jobs(gather);
  }
  int64_t piece_of(int64_t job, const Gather& gather) const {
    return by_source ? job % panels.pieces : job / source_jobs(gather);
  }
};

// How far apart things lie in the patch of a job, or in the source where that is the patch.
struct PatchPitches {
  int64_t channel, pixel, row, image;

  PatchPitches(const ChannelPlan& plan, const Gather& gather) {
    const int64_t channels = gather.groups * gather.src_channels;
    const int64_t rows = plan.in_place ? gather.rows.src_size : plan.patch.rows(plan.rows.size);
    pixel = plan.planar ? 1 : plan.in_place ? channels : plan.c_chunk.size * plan.groups.size;
    row = pixel * (plan.in_place ? gather.columns.src_size : plan.patch.columns);
    channel = plan.planar ? rows * row : 1;
    image = plan.in_place ? channels * rows * gather.columns.src_size : plan.image_pitch;
  }

  // Of tap pairs.
  TapPitches taps(const ChannelPlan& plan, const Gather& gather) const {
    const int64_t down =
        plan.patch.sections > 1 ? plan.patch.section_rows(plan.rows.size) : gather.rows.dilation;
    return {channel, down * row, gather.columns.dilation * pixel};
  }
};

// The most positions of the row axis that give a job enough pixels, and fit.
template <class PatchBytes>
int64_t channel_job_rows(const Gather& gather, const Patch& patch, int64_t row_pixels,
                         const PatchBytes& patch_bytes) {
  using namespace cost;
  // Rows that overlap are loaded again by the next job.
  const bool overlap = patch.sections == 1;
  const int64_t halo = gather.rows.src_high - gather.rows.src_low + 1;
  const int64_t most_bytes = overlap ? kPatchBytes : kSectionsBytes;
  int64_t rows = 1;
  while (rows < gather.rows.longest &&
         (rows * row_pixels < kJobPixels || (overlap && rows * patch.row_advance < halo)) &&
         rows * row_pixels < 4 * kJobPixels && patch_bytes(rows + 1, 1) <= most_bytes) {
    ++rows;
  }
  return Cut::into(ceil_div(gather.rows.longest, rows), gather.rows.longest).size;
}

// Images of a job, at most `most`: jobs are of about the same size, and few of them as many for each thread.
inline int64_t even_images(const Gather& gather, int64_t most, int64_t threads) {
  const int64_t jobs = ceil_div(gather.n, most), even = round_up(jobs, threads);
  const bool few = jobs > 1 && jobs < 8 * threads && even < 2 * jobs;
  return ceil_div(gather.n, few ? even : jobs);
}

inline ChannelPlan make_channel_plan(const Gather& gather, Dtype dtype, int64_t threads,
                                     bool weights_are_kept) {
  using namespace cost;
  const int64_t element = compute_bytes(dtype);
  ChannelPlan plan{};
  plan.lanes = block_lanes(dtype);
  const int64_t c = gather.src_channels;
  plan.c_chunk = gather.channel_chunks(kChunkDepth / gather.taps());

  // A few planes are read as they lie; channels of more would be far apart.
  plan.planar = gather.layout == Layout::kContiguous && c <= kPlanarChannels &&
                gather.pairs != InPairs::kOddChannels;
  // So are pixels, but not one part of their channels after the other, unless a cache holds the image.
  const int64_t image_bytes =
      gather.groups * c * gather.rows.src_size * gather.columns.src_size * element;
  const bool in_parts = plan.c_chunk.count > 1 && gather.taps() > 1 && image_bytes > kImageKept;
  plan.in_place = ((gather.layout == Layout::kChannelsLast && !in_parts) || plan.planar) &&
                  !is_half(dtype) && gather.rows.inside() && gather.columns.inside() &&
                  !gather.margins.any();
  const auto all_read = [](const Axis& axis) {
    return axis.src_high - axis.src_low + 1 >= axis.src_step;
  };
  // Rows that the next job copies are fetched whatever the steps: 1 x 1 of bfloat16 takes 0.8 to 1 of the time (Zen 4).
  const bool copied = gather.layout == Layout::kChannelsLast && !plan.in_place;
  const bool repays = copied ? !gather.margins.any()
                             : plan.in_place && !plan.planar && gather.steps() >= kFetchingSteps;
  plan.fetches = repays && gather.groups == 1 && plan.c_chunk.count == 1 && all_read(gather.rows) &&
                 all_read(gather.columns) && image_bytes > kImageKept / larger(1, gather.n);
  plan.patch = make_patch(gather, plan.in_place, kTapRowsApart);
  const bool tap_pairs = gather.pairs == InPairs::kTaps;
  // In channels_last the groups that lie side by side in a pixel, as far as each thread has jobs.
  const bool beside = gather.layout == Layout::kChannelsLast && !plan.in_place && !tap_pairs &&
                      plan.c_chunk.count == 1 && c < plan.lanes;
  const int64_t groups = smaller(kLoadedTogether / (c * element),
                                 gather.n * gather.groups / (kJobsPerThread * threads));
  plan.groups = Cut::into(ceil_div(gather.groups, beside ? larger(1, groups) : 1), gather.groups);
  const int64_t image_copies = tap_pairs ? TapSteps(gather).images() : 1;
  const auto image_size = [&](int64_t rows) {
    return plan.patch.rows(rows) * plan.patch.columns * plan.c_chunk.size * plan.groups.size;
  };
  const auto image_pitch = [&](int64_t rows) {
    return odd_lines(image_copies * image_size(rows), plan.lanes);
  };
  const auto patch_bytes = [&](int64_t rows, int64_t images) {
    return plan.in_place ? 0 : images * image_pitch(rows) * element;
  };
  // Windows that do not overlap, as those of a patch embedding, are read in place once for each slab, for which a
  // cache should keep them: 0.85 to 1 of the time (Zen 4). Then each job reads all weights, which must not be many.
  const bool windows =
      plan.in_place && gather.rows.forward && gather.taps() > 1 &&
      gather.rows.kernel <= gather.rows.src_step &&
      gather.columns.kernel <= gather.columns.src_step &&
      (double)gather.steps() * (double)gather.dst_channels * element <= kFetchBytes;
  const auto read_bytes = [&](int64_t rows, int64_t images) {
    if (!windows) return patch_bytes(rows, images);
    return images * rows * gather.columns.longest * gather.steps() * element;
  };
  const int64_t row_pixels = gather.columns.longest * gather.phases();
  plan.by_source = threads_share_pixels(gather, dtype, weights_are_kept);
  int64_t rows = channel_job_rows(gather, plan.patch, row_pixels, read_bytes);
  if (plan.by_source) rows = shared_rows(gather, rows, threads);
  plan.rows = Cut::of(rows, gather.rows.longest);
  plan.images = 1;
  // Images of one pixel are rows of a matrix: a job that takes more of them reads the weights less often.
  const int64_t most_images = plan.in_place && rows * row_pixels == 1 ? kJobPixels : kMostJobImages;
  while (plan.rows.count == 1 && plan.images < most_images &&
         (plan.images + 1) * rows * row_pixels <= kJobPixels &&
         read_bytes(rows, plan.images + 1) <= kPatchBytes) {
    ++plan.images;
  }

  if (plan.rows.count == 1 && gather.n > plan.images)
    plan.images = even_images(gather, plan.images, threads);

  ChannelPanels& panels = plan.panels;
  panels.blocks = ceil_div(gather.dst_channels, plan.lanes);
  const int64_t lane_sums = plan.images * rows * row_pixels * plan.lanes * element;
  panels.pieces = parts_of_channels(plan.source_jobs(gather), threads,
                                    ceil_div(panels.blocks, kPieceBlocks), [&](int64_t pieces) {
                                      const int64_t blocks = ceil_div(panels.blocks, pieces);
                                      return plan.c_chunk.count > 1 ? lane_sums * blocks : 0;
                                    });
  const int64_t piece_blocks = panels.most_blocks();
  const int64_t panel = even_part(piece_blocks, panel_blocks(piece_blocks));  // blocks, at most
  panels.panels = panels.pieces * ceil_div(piece_blocks, panel);

  plan.image_pitch = image_pitch(rows);
  // Of a pair of taps the other one may be inside.
  plan.padded = !tap_pairs && (!gather.rows.inside() || !gather.columns.inside());
  const bool across =
      plan.images >= kTileImages && (plan.padded || gather.columns.longest < kTileImages);
  plan.tiles = across ? ChannelPlan::Tiles::kAcrossImages : ChannelPlan::Tiles::kAlongRows;
  plan.packed_size = gather.groups * panels.blocks * plan.lanes * gather.steps();
  // A job that uses all of its weights alone packs them once, and their memory is that of a slab.
  const bool alone = plan.source_jobs(gather) == plan.groups.count;
  const bool pack_in_job =
      !tap_pairs && !weights_are_kept && alone && plan.packed_size * element > kPackedKept;
  plan.packing = pack_in_job ? ChannelPlan::Packing::kInJob : ChannelPlan::Packing::kOnce;

  const int64_t row_sums = gather.columns.longest * plan.lanes, all_rows = rows * plan.images;
  const int64_t slab_row = row_sums * panel * element;
  const bool short_rows = gather.layout == Layout::kContiguous || gather.columns.longest == 1;
  plan.stored_rows = short_rows ? larger(1, smaller(rows, kStoredTogether / slab_row)) : 1;
  plan.patch_size = patch_bytes(rows, plan.images) / element;
  // Then a slab takes all of its weights as they lie.
  const bool all = pack_in_job && plan.patch_size * element <= kPatchBytes / plan.c_chunk.count;
  plan.chunks_at_once = all ? plan.c_chunk.count : 1;
  plan.scratch.patch = plan.patch_size * plan.chunks_at_once;
  plan.scratch.single = tap_pairs ? ceil_div(image_size(rows), 2) : 0;
  plan.scratch.offsets = plan.c_chunk.size * gather.taps();
  plan.scratch.sums =
      plan.c_chunk.count > 1 ? row_sums * all_rows * gather.phases() * piece_blocks
      : across ? row_sums * all_rows * panel
               : (row_sums * plan.stored_rows + rows * plan.lanes) * panel;  // or of a column
  plan.scratch.weights = pack_in_job ? panel * plan.lanes * plan.c_chunk.size * gather.taps() : 0;
  return plan;
}

inline int64_t channel_scratch_bytes(const ChannelPlan& plan, Dtype dtype) {
  const auto& size = plan.scratch;
  return (size.patch + size.single + size.sums + size.weights) * compute_bytes(dtype) +
         size.offsets * (int64_t)sizeof(int64_t);
}

}  // namespace torchconv::cpu

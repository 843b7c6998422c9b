// How the weight gradient of depthwise cuts a layer into jobs. A pure function of the per-image shape,
// dtype and layout, because here the cut is the order of the sums: the batch size decides how many
// chunks of samples there are, never what a chunk is.
#pragma once

#include "cpu/common/sample_chunks.h"
#include "cpu/depthwise/patch.h"

namespace torchconv::cpu {

// Rows of a plane on whole vectors (load_plane.h).
struct PlaneRows {
  int64_t left;   // columns of padding before a row
  int64_t lead;   // elements before pixel 0 of the first row: whole vectors, too
  int64_t pitch;  // 0: not so
};

struct DepthwiseGradPlan {
  int64_t lanes;  // 64 bytes on every level: each lane is a chain of sums of its own
  bool channels_in_lanes;
  bool windows;  // channels in the lanes and neighbouring taps: both images in place or copied
  int64_t blocks, parts;  // jobs share the blocks, as `parts` parts
  int64_t block_size;     // sums of one block: [r, s][lanes]
  // Rows of grad that are summed in registers before they are added to the block, and how often.
  Cut rows;
  Cut columns;          // of these rows, that are one chain of sums
  SampleChunks chunks;  // whole images, or some of their row parts
  DepthwisePatch patch;
  PlaneRows plane;
  bool grad_in_place;
  int64_t grad_row;  // pitch of a row
  struct {
    int64_t patch, grad, sums;  // elements per thread
  } scratch;

  int64_t job_blocks() const { return ceil_div(blocks, parts); }
  Range blocks_of(int64_t part) const { return share(part, parts, blocks); }
};

// Rows of the source that these rows of grad read.
inline Range source_rows(const Axis& axis, Range rows) {
  const int64_t low = smaller(axis.src_size, rows.begin * axis.src_step + axis.src_low);
  const int64_t high = (rows.end - 1) * axis.src_step + axis.src_high + 1;
  const int64_t begin = larger(0, low);
  return {begin, larger(begin, smaller(axis.src_size, high))};
}

// Whether channels or pixels are in the lanes, and how the rows of grad lie.
inline void choose_lanes(DepthwiseGradPlan& plan, const Gather& gather, Dtype dtype) {
  const int64_t columns = gather.columns.kernel, q = gather.columns.dst_size;
  const int64_t channels = gather.groups * gather.dst_channels;
  const bool contiguous = gather.layout == Layout::kContiguous;
  const bool neighbours = gather.columns.src_high - gather.columns.src_low == columns - 1;
  plan.windows = gather.dst_channels == 1 && gather.columns.src_step <= 2 && neighbours &&
                 (columns == 3 || columns == 5 || columns == 7);
  // Windows load each operand once, which repays transposing short rows.
  plan.channels_in_lanes = depthwise_channels_in_lanes(gather, plan.lanes) ||
                           (plan.windows && contiguous && q <= sum_order::kShortRow &&
                            filled_lanes(channels, plan.lanes) >= filled_lanes(q, plan.lanes));
  plan.windows &= plan.channels_in_lanes;
  const bool in_place = plan.channels_in_lanes ? !contiguous && channels % plan.lanes == 0
                                               : contiguous || channels == 1;
  plan.grad_in_place = !is_half(dtype) && in_place;
  plan.grad_row = plan.grad_in_place       ? q * (plan.channels_in_lanes ? channels : 1)
                  : plan.channels_in_lanes ? q * plan.lanes
                                           : round_up(q, plan.lanes);
  plan.grad_in_place &= !plan.windows;
}

// Elements of the source that `rows` rows of grad read.
inline int64_t depthwise_grad_source(const DepthwiseGradPlan& plan, const Gather& gather,
                                     int64_t rows) {
  if (!plan.windows) {
    return make_depthwise_patch(gather, plan.channels_in_lanes, 1, rows, plan.lanes).size;
  }
  const Axis& axis = gather.rows;
  const int64_t reach = (rows - 1) * axis.src_step + axis.src_high - axis.src_low + 1;
  return smaller(axis.src_size, reach) * gather.columns.src_size * plan.lanes;
}

// The source of the rows of a part, from pixel 0 on.
inline void place_rows_on_vectors(DepthwiseGradPlan& plan, const Gather& gather) {
  const Axis& axis = gather.columns;
  const int64_t left = gather.margins.left - axis.src_low, width = gather.src_width();
  const int64_t right = larger(0, axis.dst_size + axis.src_high - gather.margins.left - width);
  plan.plane = {left, round_up(left, plan.lanes), round_up(width + left + right, plan.lanes)};
  const int64_t rows = plan.patch.plane_pitch / plan.patch.row_pitch;
  plan.patch.row_pitch = plan.plane.pitch;
  plan.scratch.patch = plan.plane.lead + rows * plan.plane.pitch;
}

// As many rows as fit.
inline void cut_rows(DepthwiseGradPlan& plan, const Gather& gather, int64_t element) {
  using namespace sum_order;
  const int64_t budget = plan.channels_in_lanes ? kChannelPartBytes : kPlanePartBytes;
  const int64_t halo = gather.rows.src_high - gather.rows.src_low, p = gather.rows.dst_size;
  const auto grad = [&](int64_t rows) { return plan.grad_in_place ? 0 : rows * plan.grad_row; };
  int64_t rows = 1;
  while (rows < p) {
    const int64_t bytes =
        (depthwise_grad_source(plan, gather, rows + 1) + grad(rows + 1)) * element;
    if (bytes > budget && (rows >= larger(halo, kLeastPartRows) || bytes > kLargestPartBytes)) {
      break;
    }
    ++rows;
  }
  plan.rows.count = ceil_div(p, rows);
  plan.rows.size = ceil_div(p, plan.rows.count);
  const int64_t q = gather.columns.dst_size;
  const bool long_chains = plan.channels_in_lanes && !plan.windows;
  const int64_t chains = long_chains ? ceil_div(plan.rows.size * q, kChainPixels) : 1;
  plan.columns = Cut::into(smaller(chains, q), q);
  plan.patch = make_depthwise_patch(gather, plan.channels_in_lanes, 1, plan.rows.size, plan.lanes);
  plan.scratch.patch = depthwise_grad_source(plan, gather, plan.rows.size);
  if (!plan.channels_in_lanes && gather.layout == Layout::kContiguous &&
      gather.columns.src_step == 1) {
    place_rows_on_vectors(plan, gather);
  }
  plan.scratch.grad = round_up(grad(plan.rows.size), 16);
}

// The blocks of a job, and chunks of samples where the blocks are too few to feed the threads.
inline void share_work(DepthwiseGradPlan& plan, const Gather& gather) {
  using namespace sum_order;
  const double block_work = (double)gather.taps() * gather.rows.dst_size * gather.columns.dst_size *
                            (plan.channels_in_lanes ? plan.lanes : 1);
  int64_t job_blocks = smaller(ceil_div(plan.blocks, kBlocksWanted),
                               (int64_t)(kDepthwiseBlockWork / block_work) + 1);
  if (plan.blocks < kBlocksWanted) {
    const double work = block_work * plan.blocks;
    // Blocks in place lie side by side: read row by row, they are one stream of memory.
    if (plan.windows && gather.layout == Layout::kChannelsLast) job_blocks = plan.blocks;
    SampleChunks& chunks = plan.chunks;
    chunks.images = work >= kDepthwiseChunkWork ? 1 : (int64_t)(kDepthwiseChunkWork / work) + 1;
    chunks.images = smaller(chunks.images, kMostChunkImages);
    const double part_work = kDepthwiseChunkWork * (job_blocks > 1 ? kPartOfBlocks : kPartOfBlock);
    chunks.parts = smaller(plan.rows.count, larger(1, (int64_t)(work / part_work)));
    chunks.wave = ceil_div(kBlocksWanted, ceil_div(plan.blocks, job_blocks));
  }
  plan.parts = ceil_div(plan.blocks, job_blocks);
}

// The gather is the forward one: source = input, destination = grad.
inline DepthwiseGradPlan make_depthwise_grad_plan(const Gather& gather, Dtype dtype) {
  const int64_t channels = gather.groups * gather.dst_channels;
  DepthwiseGradPlan plan{};
  plan.lanes = block_lanes(dtype);
  choose_lanes(plan, gather, dtype);
  plan.blocks = plan.channels_in_lanes ? ceil_div(channels, plan.lanes) : channels;
  plan.block_size = gather.taps() * plan.lanes;
  cut_rows(plan, gather, compute_bytes(dtype));
  share_work(plan, gather);
  plan.scratch.sums = plan.chunks.whole_batch() ? plan.job_blocks() * plan.block_size : 0;
  return plan;
}

inline int64_t depthwise_grad_scratch_bytes(const DepthwiseGradPlan& plan, const Gather& gather,
                                            Dtype dtype) {
  return (plan.scratch.patch + plan.scratch.grad + plan.scratch.sums) * compute_bytes(dtype) +
         round_up(gather.columns.kernel, 8) * (int64_t)sizeof(int64_t);
}

}  // namespace torchconv::cpu

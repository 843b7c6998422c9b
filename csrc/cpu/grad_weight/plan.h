// How grad_weight cuts a layer into jobs. A pure function of the per-image shape, dtype and layout,
// because here the cut is the order of the sums: the batch size decides how many chunks of samples
// there are, never what a chunk is.
#pragma once

#include <initializer_list>

#include "cpu/common/patch.h"
#include "cpu/common/sample_chunks.h"

namespace torchconv::cpu {

// One operand of the matrix product: the channels of the input or of grad.
struct GradWeightOperand {
  bool is_input;        // else grad
  int64_t channels;     // of a group
  Cut cut;              // into blocks of the result
  bool in_place;        // read in the tensor
  int64_t pixel_pitch;  // where it is copied
  int64_t size;         // elements per thread
};

// Tables of one integer per pixel of a pass, of which so many are copied at once.
constexpr int64_t kGradWeightTables = 4, kTableUnit = 8;

struct GradWeightPlan {
  int64_t block_lanes;
  int64_t merged;  // groups that are computed as one, of which only the diagonal is kept
  bool halves;     // they fill the lanes; tiles may leave out products of different halves
  bool unfolded;   // the input's channels are all elements that the taps see
  // A block of the result: some channels of one operand in the vector lanes x some of the other,
  // broadcast, as tile rows x all taps.
  GradWeightOperand lanes, rows;
  int64_t blocks;      // over all groups
  int64_t block_size;  // elements of one block's sums
  Cut together;        // blocks of a job: several where those of a pixel are loaded together
  SampleChunks chunks;
  // A pass: `rows` output rows of one image, or `images` whole images, whose operands are loaded. The
  // one in the lanes as [slab][image][row][column][lane], the broadcast one as
  // [image][row][column][channel], or where planes are contiguous grad as [channel][pixel] and a few
  // channels of the input as [image][row][channel][column].
  struct {
    int64_t rows, images;
    int64_t sum_pixels;  // summed in registers at most, then added to the block
  } pass;
  bool planes;        // grad's planes are contiguous and broadcast
  bool channel_rows;  // the input is broadcast, a row of each channel after the other
  int64_t row_pitch;  // of such a row
  Patch patch;        // of the input
  bool skip_padding;  // some taps see padding only, and it repays to look for them
  int64_t pixels;     // of a pass

  // Blocks in a slab of the lanes, where a register tile takes up to `most`: as many as there is memory for.
  int64_t slab_blocks(int64_t most) const {
    if (most < sum_order::kPitchBlocks) return most;
    const int64_t blocks = ceil_div(lanes.cut.size, block_lanes);
    return larger(sum_order::kPitchBlocks, even_part(blocks, smaller(most, panel_blocks(blocks))));
  }
  int64_t table_size() const { return round_up(pixels, kTableUnit) + kTableUnit; }
  const GradWeightOperand& input() const { return lanes.is_input ? lanes : rows; }
  const GradWeightOperand& grad() const { return lanes.is_input ? rows : lanes; }
};

constexpr int64_t kLeastTileRows = 8;  // of a block that is shared by threads

// Groups of few channels leave most lanes empty: several of them side by side fill a vector, and the
// products of channels of different groups cost nothing that the empty lanes would not.
inline int64_t merge_groups(Gather& gather, Dtype dtype) {
  const int64_t lanes = block_lanes(dtype);
  const int64_t channels = larger(gather.src_channels, gather.dst_channels);
  int64_t merged = 1;
  // The sums of a vector of inputs and as many outputs must fit one block of the result.
  const bool fits =
      lanes * lanes * gather.taps() * compute_bytes(dtype) <= sum_order::kResultBlockBytes;
  for (int64_t i = 2; fits && i * channels <= lanes; ++i) {
    if (gather.groups % i == 0) merged = i;
  }
  gather.groups /= merged, gather.src_channels *= merged, gather.dst_channels *= merged;
  return merged;
}

// Whether taps are unfolded (torch.nn.Unfold), so that they are channels of a layer with one tap, as those of a
// patch embedding. Where windows do not overlap no element is copied twice.
inline bool is_unfolded(const Gather& layer, int64_t merged) {
  const Axis &rows = layer.rows, &columns = layer.columns;
  const int64_t span =
      columns.kernel * (layer.layout == Layout::kContiguous ? 1 : layer.src_channels);
  return layer.taps() > 1 && layer.groups == 1 && merged == 1 && rows.kernel <= rows.src_step &&
         columns.kernel <= columns.src_step && rows.dilation == 1 && columns.dilation == 1 &&
         rows.inside() && columns.inside() && !layer.margins.any() &&
         span >= sum_order::kLeastUnfoldedSpan;
}

// The layer with one tap that an unfolded one is, its channels in the order of the result.
inline Gather unfolded(Gather layer) {
  layer.src_channels *= layer.taps();
  for (Axis* axis : {&layer.rows, &layer.columns})
    *axis = make_axis(true, axis->dst_size, axis->dst_size, 1, 1, 0, 1);
  return layer;
}

constexpr int64_t kWidestBlocks = 12;  // of lanes, in a block of the result with one tap

// Whether both operands are matrices, the input of one vector, the outputs of several: with these in the
// lanes a tile broadcasts less. The result is one block either way, and its sums are cut alike.
inline bool outputs_are_wider(const Gather& gather, Dtype dtype, int64_t lanes) {
  const int64_t k = gather.dst_channels;
  const bool in_place = gather.layout == Layout::kChannelsLast && !is_half(dtype) &&
                        gather.groups == 1 && gather.taps() == 1 && gather.rows.inside() &&
                        gather.columns.inside() && !gather.margins.any();
  return in_place && gather.src_channels == lanes && k % lanes == 0 &&
         k >= sum_order::kPitchBlocks * lanes && k <= kWidestBlocks * lanes;
}

// Few channels leave lanes empty: take the operand that fills more of them.
inline bool outputs_fill_lanes(const Gather& gather, Dtype dtype, int64_t lanes) {
  const int64_t c = gather.src_channels, k = gather.dst_channels;
  return filled_lanes(k, lanes) > filled_lanes(c, lanes) || (c <= 4 && k > c) ||
         outputs_are_wider(gather, dtype, lanes);
}

// The blocks of the result: as large as their sums may be, of about equal size.
inline void cut_result(GradWeightPlan& plan, const Gather& gather, int64_t element) {
  const int64_t taps = gather.taps(), lanes = plan.block_lanes;
  const int64_t budget = sum_order::kResultBlockBytes / element / taps;
  const int64_t widest = (taps == 1 ? kWidestBlocks : 6) * lanes;
  int64_t wide = smaller(round_up(plan.lanes.channels, lanes), widest);
  while (wide > lanes && wide * 8 > budget) wide -= lanes;
  int64_t tall = larger(1, smaller(plan.rows.channels, budget / wide));
  if (tall > 8 && tall < plan.rows.channels) tall -= tall % 8;
  wide = round_up(ceil_div(plan.lanes.channels, ceil_div(plan.lanes.channels, wide)), lanes);
  plan.lanes.cut = Cut::of(wide, plan.lanes.channels);
  const int64_t tall_blocks = ceil_div(plan.rows.channels, tall);
  tall = ceil_div(plan.rows.channels, tall_blocks);
  if (tall_blocks > 1) tall = round_up(tall, 8);
  plan.rows.cut = Cut::of(tall, plan.rows.channels);
  plan.blocks = gather.groups * plan.lanes.cut.count * plan.rows.cut.count;
  plan.block_size = taps * tall * wide;
}

// Chunks of samples where the blocks of the result are too few to feed the threads.
inline void chunk_samples(GradWeightPlan& plan, const Gather& gather, int64_t element) {
  using namespace sum_order;
  if (plan.blocks >= kBlocksWanted) return;
  const double work = (double)gather.src_channels * (double)gather.dst_channels * gather.groups *
                      gather.taps() * gather.rows.dst_size * gather.columns.dst_size;
  const double job_work = work / (double)plan.blocks + 1;
  const int64_t image_pixels = gather.rows.dst_size * gather.columns.dst_size;
  const bool large = plan.blocks * plan.block_size * element > kSumsKept;
  SampleChunks& chunks = plan.chunks;
  chunks.images = larger((int64_t)(kChunkWork / job_work) + 1,
                         large ? ceil_div(kChunkPixels, image_pixels) : 1);
  chunks.images = smaller(kMostChunkImages, chunks.images);
  const int64_t passes = larger(1, image_pixels / kPassPixels);
  chunks.wave = ceil_div(kBlocksWanted, plan.blocks);
  chunks.parts = larger(1, smaller((int64_t)(job_work / kChunkWork), smaller(chunks.wave, passes)));
  chunks.parts = smaller(chunks.parts, gather.rows.dst_size);
  // Threads wait for each other once in a wave.
  chunks.wave = larger(
      chunks.wave,
      smaller(cost::kLongestWave, cost::kWaveBytes / (plan.blocks * plan.block_size * element)));
}

// Which operands are read in place, and how the pixels of a copy lie.
inline void place_operands(GradWeightPlan& plan, const Gather& gather, Dtype dtype) {
  const int64_t lanes = plan.block_lanes;
  const bool half = is_half(dtype), padded = !gather.rows.inside() || !gather.columns.inside();
  plan.planes = gather.layout == Layout::kContiguous && plan.lanes.is_input;
  // Whole vectors are read, never beyond a pixel.
  const auto pixels_in_place = [&](const GradWeightOperand& operand) {
    return gather.layout == Layout::kChannelsLast && !half &&
           gather.groups * operand.channels * compute_bytes(dtype) % sum_order::kFewSets &&
           (&operand == &plan.rows || operand.channels % lanes == 0);
  };
  for (GradWeightOperand* operand : {&plan.lanes, &plan.rows}) {
    operand->in_place = operand->is_input ? !plan.unfolded && gather.taps() == 1 && !padded &&
                                                !gather.margins.any() && pixels_in_place(*operand)
                        : plan.planes     ? !half
                                          : pixels_in_place(*operand);
  }
  const int64_t tall = plan.rows.cut.size;
  plan.rows.pixel_pitch = tall <= lanes ? tall : odd_lines(tall, lanes);
  plan.lanes.pixel_pitch = round_up(plan.lanes.cut.size, sum_order::kPitchBlocks * lanes);
  const double products = (double)(gather.taps() * gather.rows.dst_size * gather.columns.dst_size);
  const double inside = (double)(inner_taps(gather.rows) * inner_taps(gather.columns));
  plan.skip_padding = padded && (double)(tall * plan.lanes.cut.size) * (1 - inside / products) >=
                                    cost::kSkippedSums;
}

// The rows and images whose operands are loaded at once.
inline void size_pass(GradWeightPlan& plan, const Gather& gather, int64_t element) {
  using namespace sum_order;
  const int64_t p = gather.rows.dst_size, q = gather.columns.dst_size;
  const auto size = [&](const GradWeightOperand& operand, int64_t rows) {
    if (operand.in_place) return int64_t{0};
    const int64_t pixels = operand.is_input ? plan.patch.rows(rows) * plan.patch.columns : rows * q;
    return operand.pixel_pitch * pixels;
  };
  const auto bytes = [&](int64_t rows) {
    return (size(plan.lanes, rows) + size(plan.rows, rows)) * element;
  };
  const int64_t most = ceil_div(p, larger(1, plan.chunks.parts));
  auto& pass = plan.pass;
  pass.sum_pixels = gather.layout == Layout::kContiguous ? kSumPixels : kSumPixelsChannelsLast;
  pass.rows = 1, pass.images = 1;
  while (pass.rows < most && pass.rows * q < kPassPixels && bytes(pass.rows + 1) <= kPassBytes) {
    ++pass.rows;
  }
  const int64_t most_images = plan.chunks.whole_batch() ? kPassPixels : plan.chunks.images;
  while (pass.rows == p && pass.images < most_images &&
         (pass.images + 1) * pass.rows * q <= kPassPixels &&
         (pass.images + 1) * bytes(pass.rows) <= kPassBytes) {
    ++pass.images;
  }
  plan.lanes.size = pass.images * size(plan.lanes, pass.rows);
  plan.rows.size = round_up(pass.images * size(plan.rows, pass.rows), 16);
  plan.pixels = pass.images * pass.rows * q;
}

// A few contiguous channels of the input are copied row by row instead of being transposed. Rows below each
// other are evenly spaced then, and a register tile takes those of all kernel rows.
inline void choose_channel_rows(GradWeightPlan& plan, const Gather& gather) {
  const int64_t channels = plan.rows.channels;
  plan.channel_rows = gather.layout == Layout::kContiguous && plan.rows.is_input &&
                      !plan.unfolded && channels > 1 && plan.rows.cut.size == channels &&
                      channels <= plan.block_lanes && plan.patch.sections == 1 &&
                      gather.rows.dilation == 1 &&
                      (gather.rows.kernel > 1 || gather.columns.kernel == 1);
  if (!plan.channel_rows) return;
  plan.skip_padding = false;  // a tile takes all tap rows
  plan.row_pitch = odd_lines(plan.patch.columns, plan.block_lanes);
  plan.rows.size = plan.pass.images * plan.patch.rows(plan.pass.rows) * channels * plan.row_pitch;
}

// The gather is the forward one: source = input, destination = grad, groups merged.
inline GradWeightPlan make_grad_weight_plan(const Gather& layer, int64_t merged, Dtype dtype) {
  const int64_t element = compute_bytes(dtype);
  GradWeightPlan plan{};
  plan.merged = merged, plan.unfolded = is_unfolded(layer, merged);
  const Gather gather = plan.unfolded ? unfolded(layer) : layer;
  plan.block_lanes = block_lanes(dtype);
  plan.lanes.is_input = !outputs_fill_lanes(gather, dtype, plan.block_lanes);
  plan.rows.is_input = !plan.lanes.is_input;
  for (GradWeightOperand* operand : {&plan.lanes, &plan.rows}) {
    operand->channels = operand->is_input ? gather.src_channels : gather.dst_channels;
  }
  plan.halves = merged % 2 == 0 && plan.lanes.channels == plan.block_lanes &&
                plan.rows.channels == plan.block_lanes;
  cut_result(plan, gather, element);
  chunk_samples(plan, gather, element);
  place_operands(plan, gather, dtype);
  plan.patch = make_patch(gather, false, sum_order::kTapRowsApart);
  size_pass(plan, gather, element);
  choose_channel_rows(plan, gather);
  return plan;
}

// Blocks of fewer tile rows where the jobs are fewer than the threads. What a sum is stays the same.
inline void share_tile_rows(GradWeightPlan& plan, const Gather& gather, int64_t threads) {
  const int64_t chunks = smaller(larger(1, plan.chunks.wave), plan.chunks.count(gather.n));
  const int64_t jobs = plan.blocks * larger(1, chunks);  // there may be no image
  if (jobs >= threads || plan.merged > 1 || plan.channel_rows) return;
  const int64_t tall = plan.rows.cut.size;
  const int64_t shares = smaller(ceil_div(threads, jobs), ceil_div(tall, kLeastTileRows));
  if (shares < 2) return;
  plan.block_size /= tall, plan.blocks /= plan.rows.cut.count;
  plan.rows.cut = Cut::of(round_up(ceil_div(tall, shares), kLeastTileRows), plan.rows.channels);
  plan.block_size *= plan.rows.cut.size, plan.blocks *= plan.rows.cut.count;
}

// Groups that are a block of whole lanes and lie side by side in a pixel of channels_last: as many of them as share
// the memory that the lanes of one take, and as leave the threads even shares.
inline void load_groups_together(GradWeightPlan& plan, const Gather& gather, int64_t threads) {
  const bool beside = gather.layout == Layout::kChannelsLast && plan.lanes.is_input &&
                      plan.blocks == gather.groups && !plan.unfolded &&
                      plan.lanes.channels % plan.block_lanes == 0;
  const int64_t at_once = smaller(larger(1, plan.chunks.wave), plan.chunks.count(gather.n));
  const auto even = [&](Cut cut) {
    const auto before = [&](int64_t job) {
      return job / cut.count * plan.blocks + smaller(plan.blocks, cut.begin(job % cut.count));
    };
    int64_t most = 0;
    for (int64_t i = 0; i < threads; ++i) {
      const Range jobs = share(i, threads, cut.count * at_once);
      most = larger(most, before(jobs.end) - before(jobs.begin));
    }
    return most <= ceil_div(plan.blocks * at_once, threads);
  };
  int64_t groups =
      beside ? larger(1, sum_order::kPitchBlocks * plan.block_lanes / plan.lanes.channels) : 1;
  while (groups > 1 && !even(Cut::of(groups, plan.blocks))) --groups;
  plan.together = Cut::of(groups, plan.blocks);
  plan.rows.pixel_pitch *= groups, plan.rows.size *= groups;
}

inline int64_t grad_weight_scratch_bytes(const GradWeightPlan& plan, Dtype dtype) {
  const int64_t sums = plan.together.size * plan.block_size;
  return (plan.lanes.size + plan.rows.size + sums) * compute_bytes(dtype) +
         kGradWeightTables * plan.table_size() * (int64_t)sizeof(int64_t);
}

}  // namespace torchconv::cpu

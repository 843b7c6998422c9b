// How winograd cuts a layer into jobs. No torch, no SIMD.
#pragma once

#include "cpu/common/gather.h"
#include "cpu/runtime.h"
#include "cpu/winograd/filtering.h"
#include "cpu/winograd/parts.h"
#include "cpu/winograd/tile_axis.h"

namespace torchconv::cpu {

// The tiles of the destination of a call, row after row of tiles, image after image. A unit is a row of
// tiles, or a stretch of one where it is long.
struct TileGrid {
  TileAxis down, across;  // where they are
  int64_t rows, columns;  // tiles of an image
  Cut row_cut;            // of a row into units

  bool dilated() const { return down.step > 1 || across.step > 1; }
  // Whether the destinations of a unit are side by side.
  bool units_are_spans() const { return row_cut.count == 1 || row_cut.size % across.step == 0; }
  int64_t image_units() const { return rows * row_cut.count; }
  // Tiles of all units before this one.
  int64_t tiles_before(int64_t unit) const {
    return unit / row_cut.count * columns + unit % row_cut.count * row_cut.size;
  }
};

// Tiles of one image whose units are neighbours.
struct Segment {
  int64_t image, row, rows, column, columns;  // in tiles

  // The first segment of the units [begin, end); ends at unit `stop`.
  Segment(const TileGrid& grid, int64_t begin, int64_t end, int64_t& stop) {
    const int64_t units = grid.image_units();
    image = begin / units, row = begin % units / grid.row_cut.count;
    column = begin % grid.row_cut.count * grid.row_cut.size;
    columns = smaller(grid.row_cut.size, grid.columns - column);
    stop = grid.row_cut.count > 1 ? begin + 1 : smaller(end, (image + 1) * units);
    rows = stop - begin;
  }
};

// Where tiles of grad spread over an image that is folded at its edges (store_folded.h): how many rows, and pixels of
// each, wait for other tiles or for the rows that they are added to.
struct FoldedImages {
  int64_t threads;
  int64_t rows, columns;

  // Of square kernels.
  FoldedImages(const Conv2dShape& shape, const AxisSizes& axis, int64_t threads)
      : threads(threads),
        rows(axis.tile + axis.taps - 1 + shape.pad_top + shape.pad_bottom),
        columns(round_up(shape.q, axis.tile) + axis.taps - 1) {}
};

struct WinogradPlan {
  // All jobs of stage 0 transform weights, and those of stage 1 their own source; or the other way round.
  enum class First { kWeights, kSource };

  First first;
  int64_t lanes;   // of a block
  int64_t points;  // of a tile
  int64_t values;  // of a kernel: fewer where points share them
  KernelParts parts;
  int64_t
      part_channels;  // of the source, for a part of the kernel: whole blocks where there are several
  int64_t channels;  // of all parts
  TileGrid grid;
  int64_t units, groups;  // of the call; a group is a share of the units, what a job sums
  int64_t group_units, group_tiles;  // at most
  // Where images are folded, a job has all of each, in so many groups one after the other; else it has one group.
  bool whole_images;
  int64_t image_groups;
  int64_t panel_shares;    // of a group of stage 1 where the weights come first
  int64_t repeat_groups;   // transformed at once where the source comes first
  int64_t blocks, panels;  // of destination channels; a panel is a share of the blocks
  int64_t width;           // lanes of the widest panel
  Cut c_block;             // source channels that are summed together, of the parts' channels
  Cut c_chunk;             // source channels that are loaded at once, for all parts
  // A job loads a block of source channels and multiplies it with the weights of all panels, then the next one.
  bool by_blocks;
  bool keeps_weights;  // what stage 0 makes of them can be kept for other calls
  // The transformed source of a group is [point][block of source channels][tile][c_pitch], its sums are
  // [point][tile][lanes]. By blocks, there are the values of one and the sums of all panels.
  int64_t c_pitch, block_pitch, source_pitch, sums_pitch, panel_pitch;
  struct {
    int64_t source, window, weights, packed, sums, pixels;  // elements per thread
  } scratch;
  int64_t shared_size;  // elements per call

  // Of a group, of which those with few points have so many.
  int64_t most_tiles(int64_t of_few) const {
    return points > cost::kMostPoints ? of_few / 2 : of_few;
  }
  // Where a group has a source channel of a tile at point 0.
  int64_t source_at(int64_t tile, int64_t channel) const {
    return channel / c_block.size * block_pitch + tile * c_pitch + channel % c_block.size;
  }
  Range group(int64_t index) const {
    if (!whole_images) return share(index, groups, units);
    const int64_t of_image = grid.image_units();
    if (image_groups == 1) {
      const Range images = share(index, groups, units / of_image);
      return {images.begin * of_image, images.end * of_image};
    }
    const Range part = share(index % image_groups, image_groups, of_image);
    const int64_t first = index / image_groups * of_image;
    return {first + part.begin, first + part.end};
  }
  Range panel(int64_t index) const { return share(index, panels, blocks); }
  int64_t panel_width(int64_t index) const {
    const Range range = panel(index);
    return (range.end - range.begin) * lanes;
  }
  // Of a part's row: all of the kernel, where the rows of a part are then one run of taps.
  int64_t packed_columns() const {
    return parts.kernel_rows > 1 ? parts.kernel_columns
                                 : smaller(parts.across.size, parts.kernel_columns);
  }
  // Elements from one point to the next of the weights of a panel and a block of source channels, which
  // are [point][c][lanes].
  int64_t weights_pitch() const { return odd_lines(c_pitch * width, lanes); }
  int64_t weights_at(int64_t panel, int64_t block) const {
    return (panel * c_block.count + block) * values * weights_pitch();
  }
};

// Groups of whole images, or several of each, of about so many units. Where the weights come first, a few images are
// shared by threads, which take some panels each and load the tiles anew.
inline void group_images(WinogradPlan& plan, int64_t n, int64_t group_units, int64_t threads) {
  const int64_t image_units = plan.grid.image_units();
  plan.whole_images = true;
  plan.image_groups = ceil_div(image_units, group_units);
  plan.groups =
      plan.image_groups > 1 ? n * plan.image_groups : ceil_div(n, group_units / image_units);
  const bool weights_first = plan.first == WinogradPlan::First::kWeights;
  const auto feeds = [&](int64_t jobs) { return jobs % threads == 0 || jobs >= 8 * threads; };
  if (plan.image_groups == 1 && weights_first && !feeds(plan.groups))
    plan.groups = smaller(n, round_up(plan.groups, threads));
  plan.group_units = plan.image_groups > 1 ? ceil_div(image_units, plan.image_groups)
                                           : ceil_div(n, plan.groups) * image_units;
  if (!weights_first || feeds(plan.groups / plan.image_groups)) return;
  plan.panel_shares = smaller(plan.blocks, threads);
  plan.panels = smaller(plan.blocks, round_up(plan.panels, plan.panel_shares));
}

// What comes first, and whether jobs go by blocks. `folded`: or null.
inline void choose_first(WinogradPlan& plan, int64_t n, int64_t element, bool weights_are_kept,
                         const FoldedImages* folded) {
  using namespace cost;
  const int64_t image_tiles = plan.grid.rows * plan.grid.columns, all_tiles = n * image_tiles;
  const int64_t outputs = plan.blocks * plan.lanes, c_all = plan.c_block.count * plan.c_pitch;
  const int64_t of_channel = plan.points * plan.most_tiles(kGroupTiles) * element;
  const bool many_values = 100 * of_channel * c_all > kValuesPercentOfL2 * l2_cache_bytes();
  const bool in_l2 = 100 * of_channel * outputs <= kSumsPercentOfL2 * l2_cache_bytes();
  // Or where the sums of the other panels fill a cache less than the values of the other blocks would.
  const int64_t other_panels = (plan.panels - 1) * ceil_div(plan.blocks, plan.panels) * plan.lanes;
  const bool few_sums = in_l2 || other_panels < c_all - plan.c_pitch;
  const bool blocks =
      many_values && few_sums && plan.c_block.count > 1 && plan.parts.count() == 1 && !folded;
  // Transformed weights come from a cache far away once for each group, and the source once for each panel.
  const int64_t least = (blocks ? kLeastGroupsOfBlocks : kLeastGroups) * kGroupTiles;
  const bool many_tiles =
      all_tiles >= least && (!blocks || 100 * all_tiles >= kTilesPercentOfBlocks * outputs);
  // One panel has nobody to share the source with. More kept weights would be read from further away than
  // it takes to transform them: 256 channels at 14x14 took 1.9 times as long, 512 at 7x7 2.4 times (Zen 4). Images
  // that are folded have all of their groups in one repeat.
  const int64_t all_weights = plan.values * outputs * c_all * element;
  const int64_t most_weights = blocks && in_l2 && many_tiles ? kWeightsOfBlocks : kWeightsKept;
  const bool large_images =
      folded && image_tiles * plan.points * c_all * element > kRepeatSourceBytes;
  const bool weights_first = large_images || (all_weights <= most_weights &&
                                              (plan.panels == 1 || weights_are_kept || many_tiles));
  plan.first = weights_first ? WinogradPlan::First::kWeights : WinogradPlan::First::kSource;
  plan.by_blocks = weights_first && blocks;
  plan.keeps_weights = weights_first && (!weights_are_kept || all_weights <= kWeightsKept);
}

// `folded`: or null.
inline WinogradPlan make_winograd_plan(const Gather& gather, const AxisSizes& down,
                                       const AxisSizes& across, Dtype dtype, bool weights_are_kept,
                                       const FoldedImages* folded = nullptr) {
  using namespace cost;
  const int64_t element = compute_bytes(dtype), c = gather.src_channels;
  WinogradPlan plan{};
  plan.lanes = block_lanes(dtype);
  TileGrid& grid = plan.grid;
  grid.down = {gather.rows.dst_size, down.tile, gather.rows.dilation};
  grid.across = {gather.columns.dst_size, across.tile, gather.columns.dilation};
  grid.rows = grid.down.count(), grid.columns = grid.across.count();
  const int64_t points = plan.points = down.points * across.points;
  const int64_t values = plan.values = down.weights * across.weights;
  plan.parts = KernelParts(gather.rows.kernel, gather.columns.kernel, down, across);
  plan.part_channels = plan.parts.count() > 1 ? round_up(c, plan.lanes) : c;
  plan.channels = plan.parts.count() * plan.part_channels;
  plan.c_block = Cut::of(sum_order::kWinogradChannels, plan.channels);
  plan.c_pitch = smaller(plan.c_block.size, round_up(plan.channels, plan.lanes));
  const int64_t c_all = plan.c_block.count * plan.c_pitch;

  plan.blocks = ceil_div(gather.dst_channels, plan.lanes);
  plan.panels = ceil_div(plan.blocks, kWinogradPanelBlocks);
  choose_first(plan, gather.n, element, weights_are_kept, folded);
  const bool weights_first = plan.first == WinogradPlan::First::kWeights;
  // A job of a group takes one panel where the source comes first: an even number of them.
  if (!weights_first && plan.panels > 1)
    plan.panels = smaller(plan.blocks, round_up(plan.panels, 2));

  // Many channels leave room for few tiles. A group has half a unit more of them at most, so that its
  // memory has a bound in any batch: being refused in some would change results.
  const int64_t wanted = plan.most_tiles(weights_first ? kGroupTiles : kSharedGroupTiles);
  const int64_t c_kept = plan.by_blocks ? plan.c_pitch : c_all;
  const int64_t tiles = larger(1, smaller(wanted, kGroupSourceBytes / (points * c_kept * element)));
  int64_t row_units = ceil_div(grid.columns, tiles);
  // A single row has as many units as there should be groups.
  if (gather.n * grid.rows == 1 && row_units < kEvenGroups && grid.columns >= kLeastCutTiles)
    row_units = round_up(row_units, 2);
  grid.row_cut = Cut::into(row_units, grid.columns);
  if (grid.row_cut.count > 1 && grid.row_cut.size > grid.across.step)
    grid.row_cut = Cut::of(grid.row_cut.size / grid.across.step * grid.across.step, grid.columns);
  plan.units = gather.n * grid.image_units();
  const int64_t group_units = larger(1, (tiles + grid.row_cut.size / 2) / grid.row_cut.size);
  plan.image_groups = plan.panel_shares = 1;
  if (folded) {
    group_images(plan, gather.n, group_units, folded->threads);
  } else {
    plan.groups = ceil_div(plan.units, group_units);
    if (weights_first && plan.groups < kEvenGroups)
      plan.groups = smaller(plan.units, round_up(plan.groups, 2));
    plan.group_units = ceil_div(plan.units, plan.groups);
  }
  plan.group_tiles = plan.group_units * grid.row_cut.size;
  plan.width = ceil_div(plan.blocks, plan.panels) * plan.lanes;

  // Of the units of a segment that are loaded and stored at once.
  const int64_t rows =
      grid.row_cut.count > 1 || grid.dilated() ? 1 : smaller(plan.group_units, grid.rows);
  const int64_t window_rows = rows * down.advance + down.reach - down.advance;
  const int64_t window_columns =
      grid.across.span(grid.row_cut.size, across) + plan.parts.last_column() * grid.across.step;
  const int64_t window_pixels = smaller(window_rows + plan.parts.last_row(), gather.rows.src_size) *
                                smaller(window_columns, gather.columns.src_size);
  const bool in_place = gather.layout == Layout::kChannelsLast;
  const int64_t window_blocks = larger(1, kWindowBytes / element / window_pixels / plan.lanes);
  const int64_t c_lanes = round_up(c, plan.lanes);
  plan.c_chunk = Cut::of(in_place ? c_lanes : smaller(c_lanes, window_blocks * plan.lanes), c);

  if (plan.by_blocks) {
    int64_t chunks = 1;  // of a block
    while (plan.c_block.size / chunks > plan.c_chunk.size) chunks *= 2;
    plan.c_chunk = Cut::of(plan.c_block.size / chunks, c);
  }

  plan.block_pitch = plan.by_blocks ? 0 : plan.group_tiles * plan.c_pitch;
  plan.source_pitch = odd_lines(plan.group_tiles * c_kept, plan.lanes);
  plan.sums_pitch = odd_lines(plan.group_tiles * plan.width, plan.lanes);
  plan.panel_pitch = plan.by_blocks ? points * plan.sums_pitch : 0;
  plan.scratch.window = in_place ? 0 : window_pixels * plan.c_chunk.size;
  plan.scratch.packed = smaller(plan.channels, plan.c_block.size) *
                        smaller(plan.parts.down.size, gather.rows.kernel) * plan.packed_columns() *
                        plan.lanes;
  plan.scratch.sums = points * plan.sums_pitch + (plan.panels - 1) * plan.panel_pitch;
  plan.scratch.pixels =
      (in_place ? 1 : rows) * grid.row_cut.size * down.tile * across.tile * plan.width;
  if (folded) {
    const int64_t all = weights_first ? plan.blocks * plan.lanes : plan.width;
    plan.scratch.pixels = folded->columns * (folded->rows * all + plan.lanes);
  }
  if (weights_first) {
    plan.scratch.source = points * plan.source_pitch;
    plan.shared_size = plan.weights_at(plan.panels, 0);
  } else {
    plan.scratch.weights = values * plan.weights_pitch();
    const int64_t fitting = kRepeatSourceBytes / element / (points * plan.source_pitch);
    plan.repeat_groups =
        smaller(plan.groups, larger(1, fitting / plan.image_groups) * plan.image_groups);
    plan.shared_size = plan.repeat_groups * points * plan.source_pitch;
  }
  return plan;
}

inline int64_t winograd_scratch_bytes(const WinogradPlan& plan, Dtype dtype) {
  const auto& size = plan.scratch;
  return (size.source + size.window + size.weights + size.packed + size.sums + size.pixels) *
         compute_bytes(dtype);
}

}  // namespace torchconv::cpu

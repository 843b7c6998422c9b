// The load stage of grad_weight: the operands of a pass as the tiles read them, and where its pixels
// find them.
#pragma once

#include "cpu/common/run_rows.h"
#include "cpu/grad_weight/block.h"
#include "cpu/grad_weight/inner_pixels.h"
#include "cpu/grad_weight/load_channel_rows.h"
#include "cpu/grad_weight/load_unfolded.h"

namespace torchconv::cpu {
namespace {

// For which passes the tables of offsets are filled: they depend on nothing else.
struct PassTables {
  int64_t images = 0, rows = 0;
  bool pairs = false;

  bool operator==(const PassTables& other) const {
    return images == other.images && rows == other.rows && pairs == other.pairs;
  }
};

// A: the operands, numbers of the compute type or pairs. In pairs, a pixel below is two of them, the last one
// of a row perhaps a single one.
template <class S, class A>
struct GradWeightPass {
  static constexpr bool kPairs = std::is_same_v<A, Pair>;

  // One operand as the tiles find it.
  struct Loaded {
    const GradWeightOperand& operand;
    const GradWeightChannels& channels;
    const A* data;
    int64_t pixel_pitch;    // from a pixel of its source to the next
    int64_t channel_pitch;  // from slab to slab of the lanes, from channel to channel of the rows
    int64_t* offset;        // [pixel]
    int64_t* inner;         // [pixel]: offsets of those pixels of a group that a tap needs
    A* copy;
  };

  const GradWeightBlock& block;
  const Task& task;
  const Gather &layer, &gather;  // of an unfolded layer, and of the one that it is then
  const GradWeightPlan& plan;
  const int64_t slab;  // lanes from pixel to pixel
  const Patch patch;
  int64_t image, images, row, rows, across, pixels;  // across: pixels of a row
  bool skip_padding;  // grad is finite: where the input is zero it adds nothing
  Loaded lanes, broadcast;

  GradWeightPass(const Task& task, const Gather& layer, const Gather& gather,
                 const GradWeightPlan& plan, const GradWeightBlock& block,
                 const GradWeightPart& part, char* scratch)
      : block(block),
        task(task),
        layer(layer),
        gather(gather),
        plan(plan),
        slab(plan.slab_blocks(kSlabBlocks<A>) * kLaneBlock<A>),
        patch(kPairs ? patch_of_pairs(plan.patch, gather) : plan.patch),
        image(part.image),
        images(part.images),
        row(part.row),
        rows(part.rows),
        across(ceil_div(gather.columns.dst_size, kPairs ? 2 : 1)),
        pixels(images * rows * across),
        lanes{plan.lanes, block.lanes, nullptr, slab, slab, nullptr, nullptr, nullptr},
        broadcast{plan.rows, block.rows, nullptr, plan.rows.pixel_pitch,
                  1,         nullptr,    nullptr, nullptr} {
    int64_t* table = (int64_t*)scratch;
    for (int64_t** const offsets :
         {&broadcast.offset, &lanes.offset, &broadcast.inner, &lanes.inner}) {
      *offsets = table;
      table += plan.table_size();
    }
    lanes.copy = (A*)table, broadcast.copy = lanes.copy + plan.lanes.size;
    if (!lanes.operand.in_place) lanes.channel_pitch = copied_pixels(lanes.operand) * slab;
    if (plan.planes) {
      broadcast.pixel_pitch = 1;
      broadcast.channel_pitch =
          broadcast.operand.in_place ? gather.rows.dst_size * gather.columns.dst_size : pixels;
    } else if (plan.channel_rows) {
      broadcast.pixel_pitch = 1, broadcast.channel_pitch = plan.row_pitch;
    }
  }

  Loaded& input() { return lanes.operand.is_input ? lanes : broadcast; }
  const Loaded& input() const { return lanes.operand.is_input ? lanes : broadcast; }
  const Loaded& grad() const { return lanes.operand.is_input ? broadcast : lanes; }

  int64_t copied_pixels(const GradWeightOperand& operand) const {
    if (!operand.is_input) return pixels;
    return images * patch.rows(plan.pass.rows) * patch.columns;
  }

  // From a row of the patch to the next.
  int64_t input_row() const {
    return plan.channel_rows ? broadcast.channels.count * plan.row_pitch
                             : patch.columns * input().pixel_pitch;
  }

  void load(PassTables& filled) {
    if (lanes.operand.in_place) {
      read_in_place(lanes);
    } else {
      for (int64_t l = 0; l < lanes.channels.count; l += slab) {
        copy(lanes, lanes.channels.begin + l, smaller(slab, lanes.channels.count - l),
             lanes.copy + l / slab * lanes.channel_pitch);
      }
      lanes.data = lanes.copy;
    }
    if (broadcast.operand.in_place) {
      read_in_place(broadcast);
    } else {
      if (plan.planes) {
        copy_grad_planes();
      } else {
        copy(broadcast, broadcast.channels.begin, broadcast.channels.count, broadcast.copy);
      }
      broadcast.data = broadcast.copy;
    }
    const PassTables tables = {images, rows, kPairs};
    if (!(filled == tables)) fill_offsets();
    filled = tables;
    skip_padding = plan.skip_padding && grad_is_finite();
  }

  // The pass's first pixel in the tensor itself.
  void read_in_place(Loaded& loaded) const {
    const int64_t c = loaded.channels.begin, channels = loaded.operand.channels;
    if (loaded.operand.is_input) {
      const int64_t pixel =
          (image * gather.rows.src_size + row * gather.rows.src_step) * gather.columns.src_size;
      loaded.data = (const A*)task.input + (pixel * gather.groups + block.group) * channels + c;
    } else if (plan.planes) {
      loaded.data = (const A*)grad_planes();
      return;
    } else {
      const int64_t pixel = (image * gather.rows.dst_size + row) * gather.columns.dst_size;
      loaded.data = (const A*)task.grad + (pixel * gather.groups + block.group) * channels + c;
    }
    loaded.pixel_pitch = gather.groups * channels;
  }

  // Channels of the block's group, from `channel` on, to [image][row][column][pixel_pitch].
  void copy(const Loaded& loaded, int64_t channel, int64_t count, A* out) const {
    const int64_t pitch = loaded.pixel_pitch;
    const int64_t first = block.group * loaded.operand.channels + channel;
    if (loaded.operand.is_input) {
      const int64_t channels = layer.groups * layer.src_channels;
      const int64_t h = layer.src_height(), w = layer.src_width();
      const int64_t image_rows = patch.rows(plan.pass.rows);
      for (int64_t n = 0; n < images; ++n) {
        const S* const data = (const S*)task.input + (image + n) * channels * h * w;
        const Image<S> from = {data, layer.layout, channels, h, w, layer.margins};
        A* const to = out + n * image_rows * input_row();
        if (plan.unfolded) {
          load_unfolded(from, layer, row, rows, channel, count, to, pitch);
        } else if (plan.channel_rows) {
          load_channel_rows(from, patch, gather, row, rows, first, count, to, plan.row_pitch);
        } else if constexpr (kPairs) {
          load_pair_sections(from, patch, gather, row, rows, plan.pass.rows, first, count, to,
                             pitch);
        } else {
          load_sections(from, patch, gather, row, rows, plan.pass.rows, first, count, to, pitch);
        }
      }
      return;
    }
    const int64_t channels = gather.groups * gather.dst_channels;
    const int64_t p = gather.rows.dst_size, q = gather.columns.dst_size;
    for (int64_t n = 0; n < images; ++n) {
      const Image<S> from = {(const S*)task.grad + (image + n) * channels * p * q, gather.layout,
                             channels, p, q};
      A* const to = out + n * rows * across * pitch;
      if constexpr (kPairs) {
        load_pairs(from, {row, rows, 1, 0, across, 2, first, count}, 1, to, pitch);
      } else {
        load_patch(from, {row, rows, 1, 0, q, 1, first, count}, to, pitch);
      }
    }
  }

  // The pass's first pixel of the first channel.
  const S* grad_planes() const {
    const int64_t plane = gather.rows.dst_size * gather.columns.dst_size;
    const int64_t channel =
        (image * gather.groups + block.group) * gather.dst_channels + broadcast.channels.begin;
    return (const S*)task.grad + channel * plane + row * gather.columns.dst_size;
  }

  void copy_grad_planes() const {
    const int64_t plane = gather.rows.dst_size * gather.columns.dst_size;
    const int64_t image_size = gather.groups * gather.dst_channels * plane;
    for (int64_t k = 0; k < broadcast.channels.count; ++k) {
      for (int64_t n = 0; n < images; ++n) {
        const S* const from = grad_planes() + n * image_size + k * plane;
        A* const to = broadcast.copy + k * broadcast.channel_pitch + n * rows * across;
        if constexpr (kPairs) {
          load_pair_plane(from, rows, gather.columns.dst_size, to);
        } else {
          copy_span(from, to, rows * across);
        }
      }
    }
  }

  void fill_offsets() {
    const Loaded &input = this->input(), &grad = this->grad();
    int64_t input_row = this->input_row();
    int64_t input_image = patch.rows(plan.pass.rows) * input_row;
    int64_t row_step = patch.row_advance, column_step = patch.column_advance;
    if (input.operand.in_place) {
      input_row = gather.columns.src_size * input.pixel_pitch;
      input_image = gather.rows.src_size * input_row;
      row_step = gather.rows.src_step, column_step = gather.columns.src_step;
    }
    int64_t grad_image = rows * across * grad.pixel_pitch;
    if (grad.operand.in_place) {
      grad_image = gather.groups * gather.dst_channels * gather.rows.dst_size * across;
    }
    for (int64_t n = 0, i = 0; n < images; ++n) {
      for (int64_t y = 0; y < rows; ++y) {
        for (int64_t x = 0; x < across; ++x, ++i) {
          input.offset[i] =
              n * input_image + y * row_step * input_row + x * column_step * input.pixel_pitch;
          grad.offset[i] = n * grad_image + (y * across + x) * grad.pixel_pitch;
        }
      }
    }
  }

  bool grad_is_finite() const {
    const Loaded& grad = this->grad();
    if (!plan.planes) return is_finite(grad, pixels, [&](int64_t i) { return grad.offset[i]; });
    const int64_t span = rows * across;
    bool finite = true;
    for (int64_t n = 0; n < images; ++n) {
      const A* const from = grad.data + grad.offset[n * span];
      for (int64_t k = 0; k < grad.channels.count; ++k)
        finite &= all_finite(from + k * grad.channel_pitch, span);
    }
    return finite;
  }

  // A single pixel is followed by one that its grad, then a zero, must not meet where that is infinite.
  bool singles_are_exact() const { return gather.columns.dst_size % 2 == 0 || last_is_finite(); }

  // The input that the last pair of each row meets.
  bool last_is_finite() const {
    const Loaded& input = this->input();
    const int64_t last = (across - 1) * patch.column_advance;
    const int64_t image_rows = images * patch.rows(plan.pass.rows);
    bool finite = true;
    if (plan.channel_rows) {
      for (int64_t i = 0; i < image_rows * input.channels.count; ++i)
        finite &= all_finite(input.data + i * plan.row_pitch + last, patch.columns - last);
      return finite;
    }
    const AxisPhase taps = gather.columns.phase(0);
    for (int64_t j = 0; j < taps.taps; ++j) {
      const int64_t column = last + j * taps.src_delta;
      finite &= is_finite(input, image_rows, [&](int64_t i) {
        return (i * patch.columns + column) * input.pixel_pitch;
      });
    }
    return finite;
  }

  // `at`: where the operand has each of so many pixels.
  template <class At>
  bool is_finite(const Loaded& loaded, int64_t count, const At& at) const {
    const int64_t channels = loaded.channels.count,
                  slab = &loaded == &lanes ? this->slab : channels;
    bool finite = true;
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t l = 0; l < channels; l += slab) {
        finite &= all_finite(loaded.data + l / slab * loaded.channel_pitch + at(i),
                             smaller(slab, channels - l));
      }
    }
    return finite;
  }

  // Those of `count` pixels from `first` on whose tap (r, s) lies inside the input.
  int64_t inner_pixels(int64_t first, int64_t count, int64_t r, int64_t s) const {
    const InnerPixels inner(gather, {row, rows, across}, kPairs ? 2 : 1, r, s);
    if (inner.all()) return count;
    return inner.runs(first, count, [&](int64_t from, int64_t to, int64_t run) {
      for (int64_t i = 0; i < run; i += kTableUnit) {
        copy_entries(broadcast.offset + from + i, broadcast.inner + to + i);
        copy_entries(lanes.offset + from + i, lanes.inner + to + i);
      }
    });
  }

  static void copy_entries(const int64_t* from, int64_t* to) {
    __builtin_memcpy(to, from, kTableUnit * sizeof(int64_t));
  }
};

}  // namespace
}  // namespace torchconv::cpu

// Operands of grad_weight in pairs: two pixels of a row, one after the other, of the same channel.
#pragma once

#include "cpu/common/load_patch.h"

namespace torchconv::cpu {
namespace {

// A: Pair, of which only levels that have vectors of pairs know more.

// A row of pairs: out[i * pitch + c] holds channel c of the columns x and x + apart, where x is column + i *
// column_skip. Columns outside are padding.
template <class A>
void load_pair_row(const Image<BFloat16>& image, const PatchBox& box, int64_t apart, int64_t y,
                   A* out, int64_t pitch) {
  const bool channels_last = image.layout == Layout::kChannelsLast;
  const int64_t plane = channels_last ? 1 : image.height * image.width;
  const int64_t pixel = channels_last ? image.channels : 1, step = box.column_skip * pixel;
  const BFloat16* const row = image.data + y * image.width * pixel + box.channel * plane;
  const Range first = inside(box.column, box.column_skip, box.columns, image.width);
  const Range second = inside(box.column + apart, box.column_skip, box.columns, image.width);
  const int64_t begin = larger(first.begin, second.begin);
  const int64_t end = larger(begin, smaller(first.end, second.end));
  const auto load_one_by_one = [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      const int64_t x = image.column(box.column + i * box.column_skip);
      const int64_t next = image.column(box.column + i * box.column_skip + apart);
      for (int64_t c = 0; c < box.channels; ++c) {
        out[i * pitch + c] = make_pair(x < 0 ? BFloat16{} : row[x * pixel + c * plane],
                                       next < 0 ? BFloat16{} : row[next * pixel + c * plane]);
      }
    }
  };
  load_one_by_one(0, smaller(begin, box.columns));
  load_one_by_one(smaller(end, box.columns), box.columns);
  if (begin >= end) return;
  const BFloat16* const in = row + (box.column + begin * box.column_skip) * pixel;
  A* const to = out + begin * pitch;
  const int64_t count = end - begin;
  if (channels_last && step == pitch && box.channels == pitch) {
    copy_span(RowPairs{in, apart * pixel}, to, count * pitch);
  } else if (channels_last) {
    for (int64_t i = 0; i < count; ++i)
      copy_span(RowPairs{in + i * step, apart * pixel}, to + i * pitch, box.channels);
  } else if (box.column_skip == 1 && pitch == 1) {
    copy_span(RowPairs{in, apart}, to, count);
  } else if (box.column_skip == 1) {
    transpose_copy(RowPairs{in, apart}, plane, box.channels, count, to, pitch);
  } else if (box.column_skip == 2 && apart == 1 && plane % 2 == 0) {
    transpose_copy(NeighbourPairs{in}, plane / 2, box.channels, count, to, pitch);
  } else {
    load_one_by_one(begin, end);
  }
}

template <class A>
void load_pairs(const Image<BFloat16>& image, const PatchBox& box, int64_t apart, A* out,
                int64_t pitch) {
  const bool neighbours = box.column == 0 && box.column_skip == 2 && apart == 1;
  if (neighbours && 2 * box.columns == image.width && box.row_skip == 1 && box.row >= 0 &&
      box.row + box.rows <= image.height) {
    // Whole rows of whole pairs follow each other like one row, of an image that keeps its planes.
    PatchBox joined = box;
    joined.columns = box.rows * box.columns;
    const int64_t pixel = image.layout == Layout::kChannelsLast ? image.channels : 1;
    const int64_t pixels = image.height * image.width;
    const int64_t before = box.row * image.width;
    const Image<BFloat16> rest = {image.data + before * pixel, image.layout, image.channels, 1,
                                  pixels};
    return load_pair_row(rest, joined, apart, 0, out, pitch);
  }
  load_rows(image, box, out, pitch,
            [&](int64_t y, A* to) { load_pair_row(image, box, apart, y, to, pitch); });
}

// Where taps of a row overlap, a patch has a pair for every column, else only those that are read.
inline Patch patch_of_pairs(Patch patch, const Gather& gather) {
  if (gather.columns.kernel > 1) {
    patch.column_advance *= 2;
  } else {
    patch.column_skip *= 2, patch.columns = ceil_div(gather.columns.dst_size, 2);
  }
  return patch;
}

// As load_sections: the input of the pixels that are a pair, neighbours in a row of the output.
template <class A>
void load_pair_sections(const Image<BFloat16>& image, const Patch& patch, const Gather& gather,
                        int64_t first, int64_t count, int64_t most, int64_t channel,
                        int64_t channels, A* out, int64_t pitch) {
  for (int64_t i = 0; i < patch.sections; ++i) {
    const PatchBox box = section_box(patch, gather, i, first, count, channel, channels);
    load_pairs(image, box, gather.columns.src_step,
               out + i * patch.section_rows(most) * patch.columns * pitch, pitch);
  }
}

// `count` channels, each a run of rows of `width` elements that follow each other: from [channel][pixel] to
// [channel][pair]. A row with an odd end has a last pair of its own.
template <class A>
void load_pair_plane(const BFloat16* in, int64_t rows, int64_t width, A* out) {
  if (width % 2 == 0) return copy_span(NeighbourPairs{in}, out, rows * width / 2);
  for (int64_t i = 0; i < rows; ++i, in += width, out += width / 2 + 1) {
    copy_span(NeighbourPairs{in}, out, width / 2);
    out[width / 2] = make_pair(in[width - 1], BFloat16{});
  }
}

}  // namespace
}  // namespace torchconv::cpu

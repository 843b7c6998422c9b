// The load stage: part of one image as [row][column][channel] in the compute type, padding as
// zeros or as the elements that it repeats. Strides, dtypes, layouts and modes of padding end here.
#pragma once

#include "cpu/common/copy.h"
#include "cpu/common/gather.h"
#include "cpu/common/patch.h"

namespace torchconv::cpu {
namespace {

struct PatchBox {
  int64_t row, rows, row_skip;           // source row of patch row i: row + i * row_skip
  int64_t column, columns, column_skip;  // the same across
  int64_t channel, channels;
};

// One image, dense in its layout. S: what its elements are loaded as, the storage type or pairs.
template <class S>
struct Image {
  const typename Reading<S>::Stored* data;
  Layout layout;
  int64_t channels, height, width;
  Margins margins = {};

  // Where the image has what is at a coordinate, which may be padding; -1 for zero.
  int64_t row(int64_t y) const { return margins.row(y, height); }
  int64_t column(int64_t x) const { return margins.column(x, width); }

  // The image `n` images further on.
  Image after(int64_t n) const {
    Image image = *this;
    image.data += n * channels * Reading<S>::kChannels * height * width;
    return image;
  }
};

// Columns of a box outside of [first, last), those that the image has: zero(i) of column i where there is
// none, copy(i, j) where column j has the same element, load(i, x) else.
template <class S, class Zero, class Copy, class Load>
void repeat_columns(const Image<S>& image, const PatchBox& box, int64_t first, int64_t last,
                    const Zero& zero, const Copy& copy, const Load& load) {
  const auto repeat = [&](int64_t i) {
    const int64_t x = image.column(box.column + i * box.column_skip);
    if (x < 0) return zero(i);
    const int64_t from = (x - box.column) / box.column_skip;
    const bool loaded = from >= first && from < last && box.column + from * box.column_skip == x;
    loaded ? copy(i, from) : load(i, x);
  };
  for (int64_t i = 0; i < first; ++i) repeat(i);
  for (int64_t i = last; i < box.columns; ++i) repeat(i);
}

// Image `n` of the source, for the channels of the gather.
template <class S>
Image<S> source_image(const Task& task, const Gather& gather, int64_t n) {
  const int64_t channels = gather.groups * gather.single_channels() / Reading<S>::kChannels;
  const auto* const data = (const typename Reading<S>::Stored*)gather_source(task);
  return Image<S>{data,          gather.layout, channels, gather.src_height(), gather.src_width(),
                  gather.margins}
      .after(n);
}

// Those `count` columns of a row of a box, from its column `first` on, that lie inside the image.
template <class S>
void load_inner_row(const Image<S>& image, int64_t plane, const PatchBox& w, int64_t y,
                    int64_t first, int64_t count, Operand<S>* out, int64_t pitch) {
  using T = Operand<S>;
  constexpr int64_t kChannels = Reading<S>::kChannels;
  const int64_t x = w.column + first * w.column_skip;
  if (image.layout == Layout::kChannelsLast) {
    const auto in = Reading<S>::channels(
        image.data + ((y * image.width + x) * image.channels + w.channel) * kChannels);
    if (w.channels == image.channels && w.channels == pitch && w.column_skip == 1) {
      copy_span(in, out, count * w.channels);
      return;
    }
    // What comes after these channels is what is loaded next.
    const int64_t step = w.column_skip * image.channels;
    const auto ahead = [=](int64_t i) { prefetch_row(in + (i * step + w.channels)); };
    if (w.channels == kLaneBlock<T>) {
      for (int64_t i = 0; i < count; ++i) ahead(i), copy_block(in + i * step, out + i * pitch);
      return;
    }
    for (int64_t i = 0; i < count; ++i) {
      ahead(i), copy_span(in + i * step, out + i * pitch, w.channels);
    }
    return;
  }
  const int64_t next = kChannels * plane;
  const auto in = Reading<S>::row(image.data + w.channel * next + y * image.width + x, plane);
  if (w.column_skip == 1) {
    if (pitch == 1) return copy_span(in, out, count);
    // Of so many planes no hardware prefetcher follows the rows.
    return transpose_copy(in, next, w.channels, count, out, pitch, nullptr, kTransposedSpan);
  }
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t c = 0; c < w.channels; ++c) {
      out[i * pitch + c] = to_compute(in[c * next + i * w.column_skip]);
    }
  }
}

// Row `y` of the image, as far as the box has it.
template <class S>
void load_patch_row(const Image<S>& image, int64_t plane, const PatchBox& w, int64_t y,
                    Operand<S>* out, int64_t pitch) {
  const auto [first, last] = inside(w.column, w.column_skip, w.columns, image.width);
  if (!image.margins.any()) {
    fill_zero(out, first * pitch);
    fill_zero(out + last * pitch, (w.columns - last) * pitch);
    return load_inner_row(image, plane, w, y, first, last - first, out + first * pitch, pitch);
  }
  load_inner_row(image, plane, w, y, first, last - first, out + first * pitch, pitch);
  repeat_columns(
      image, w, first, last, [&](int64_t i) { fill_zero(out + i * pitch, pitch); },
      [&](int64_t i, int64_t from) {
        for (int64_t c = 0; c < w.channels; ++c) out[i * pitch + c] = out[from * pitch + c];
      },
      [&](int64_t i, int64_t x) {
        PatchBox one = w;
        one.column = x;
        load_inner_row(image, plane, one, y, 0, 1, out + i * pitch, pitch);
      });
}

// Row after row of a box, `pitch` elements for each column: load_row(y, to), or zeros where the image has none.
template <class S, class T, class LoadRow>
void load_rows(const Image<S>& image, const PatchBox& box, T* out, int64_t pitch,
               const LoadRow& load_row) {
  for (int64_t i = 0; i < box.rows; ++i, out += box.columns * pitch) {
    const int64_t y = image.row(box.row + i * box.row_skip);
    if (y < 0) {
      fill_zero(out, box.columns * pitch);
    } else {
      load_row(y, out);
    }
  }
}

// Channels are `pitch` >= window.channels apart; what lies between is left as it is.
template <class S>
void load_patch(const Image<S>& image, const PatchBox& w, Operand<S>* out, int64_t pitch) {
  const bool whole_rows = w.column == 0 && w.columns == image.width && w.column_skip == 1;
  if (whole_rows && w.row_skip == 1 && w.row >= 0 && w.row + w.rows <= image.height) {
    const Image<S> one_row = {
        image.data +
            (image.layout == Layout::kContiguous ? 1 : image.channels * Reading<S>::kChannels) *
                w.row * image.width,
        image.layout, image.channels, 1, w.rows * image.width};
    PatchBox joined = w;
    joined.columns = one_row.width;
    return load_patch_row(one_row, image.height * image.width, joined, 0, out, pitch);
  }
  load_rows(image, w, out, pitch, [&](int64_t y, Operand<S>* to) {
    load_patch_row(image, image.height * image.width, w, y, to, pitch);
  });
}

// What a section of a patch holds of `count` positions of the row axis from `first` on.
inline PatchBox section_box(const Patch& patch, const Gather& gather, int64_t section,
                            int64_t first, int64_t count, int64_t channel, int64_t channels) {
  return {first * gather.rows.src_step + patch.first_row(gather.rows, section) - gather.margins.top,
          patch.section_rows(count),
          patch.row_skip,
          gather.columns.src_low - gather.margins.left,
          patch.columns,
          patch.column_skip,
          channel,
          channels};
}

// The patch of `count` positions of the row axis from `first` on, for `channels` channels from
// `channel` on; its sections are apart as if there were `most` positions.
template <class S>
void load_sections(const Image<S>& image, const Patch& patch, const Gather& gather, int64_t first,
                   int64_t count, int64_t most, int64_t channel, int64_t channels, Operand<S>* out,
                   int64_t pitch) {
  for (int64_t i = 0; i < patch.sections; ++i) {
    const PatchBox box = section_box(patch, gather, i, first, count, channel, channels);
    load_patch(image, box, out + i * patch.section_rows(most) * patch.columns * pitch, pitch);
  }
}

}  // namespace
}  // namespace torchconv::cpu

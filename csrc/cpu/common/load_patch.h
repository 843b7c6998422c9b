// The load stage: part of one image as [row][column][channel] in the compute type, padding as
// zeros. Strides, dtypes and layouts end here.
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

  // The image `n` images further on.
  Image after(int64_t n) const {
    Image image = *this;
    image.data += n * channels * Reading<S>::kChannels * height * width;
    return image;
  }
};

// Image `n` of the source, for the channels of the gather.
template <class S>
Image<S> source_image(const Task& task, const Gather& gather, int64_t n) {
  const int64_t channels = gather.groups * gather.src_channels;
  const int64_t height = gather.rows.src_size, width = gather.columns.src_size;
  const auto* const data = (const typename Reading<S>::Stored*)gather_source(task);
  return Image<S>{data, gather.layout, channels, height, width}.after(n);
}

template <class S>
void load_patch_row(const Image<S>& image, int64_t plane, const PatchBox& w, int64_t y,
                    Operand<S>* out, int64_t pitch) {
  using T = Operand<S>;
  constexpr int64_t kChannels = Reading<S>::kChannels;
  const auto [first, last] = inside(w.column, w.column_skip, w.columns, image.width);
  fill_zero(out, first * pitch);
  fill_zero(out + last * pitch, (w.columns - last) * pitch);
  out += first * pitch;
  const int64_t x = w.column + first * w.column_skip, count = last - first;
  if (image.layout == Layout::kChannelsLast) {
    const auto in = Reading<S>::channels(
        image.data + ((y * image.width + x) * image.channels + w.channel) * kChannels);
    if (w.channels == image.channels && w.channels == pitch && w.column_skip == 1) {
      copy_span(in, out, count * w.channels);
      return;
    }
    const int64_t step = w.column_skip * image.channels;
    if (w.channels == kLaneBlock<T>) {
      for (int64_t i = 0; i < count; ++i) copy_block(in + i * step, out + i * pitch);
      return;
    }
    for (int64_t i = 0; i < count; ++i) {
      copy_span(in + i * step, out + i * pitch, w.channels);
    }
    return;
  }
  const int64_t next = kChannels * plane;
  const auto in = Reading<S>::row(image.data + w.channel * next + y * image.width + x, plane);
  if (w.column_skip == 1) {
    if (pitch == 1) return copy_span(in, out, count);
    return transpose_copy(in, next, w.channels, count, out, pitch);
  }
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t c = 0; c < w.channels; ++c) {
      out[i * pitch + c] = to_compute(in[c * next + i * w.column_skip]);
    }
  }
}

// Row after row of a box, `pitch` elements for each column: load_row(y, to), or zeros where the image has none.
template <class T, class LoadRow>
void load_rows(int64_t height, const PatchBox& box, T* out, int64_t pitch,
               const LoadRow& load_row) {
  for (int64_t i = 0; i < box.rows; ++i, out += box.columns * pitch) {
    const int64_t y = box.row + i * box.row_skip;
    if (y < 0 || y >= height) {
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
  load_rows(image.height, w, out, pitch, [&](int64_t y, Operand<S>* to) {
    load_patch_row(image, image.height * image.width, w, y, to, pitch);
  });
}

// What a section of a patch holds of `count` positions of the row axis from `first` on.
inline PatchBox section_box(const Patch& patch, const Gather& gather, int64_t section,
                            int64_t first, int64_t count, int64_t channel, int64_t channels) {
  return {first * gather.rows.src_step + patch.first_row(gather.rows, section),
          patch.section_rows(count),
          patch.row_skip,
          gather.columns.src_low,
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

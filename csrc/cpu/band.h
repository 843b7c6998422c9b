// The load stage: part of one image as [row][column][channel] in the compute type, padding as
// zeros. Strides, dtypes and layouts end here. Included inside the namespace of each isa_*.cpp.
#pragma once

struct BandWindow {
  int64_t row, rows, row_skip;           // source row of band row i: row + i * row_skip
  int64_t column, columns, column_skip;  // the same across
  int64_t channel, channels;
};

// One image, dense in its layout.
template <class S>
struct Image {
  const S* data;
  Layout layout;
  int64_t channels, height, width;
};

template <class S>
void load_band_row(const Image<S>& image, int64_t plane, const BandWindow& w, int64_t y,
                   Compute<S>* out, int64_t pitch) {
  using T = Compute<S>;
  // Band columns [first, last) lie inside the image.
  const int64_t first = w.column >= 0 ? 0 : smaller(w.columns, ceil_div(-w.column, w.column_skip));
  const int64_t room = image.width - w.column;
  const int64_t last =
      larger(first, smaller(w.columns, room > 0 ? ceil_div(room, w.column_skip) : 0));
  fill_zero(out, first * pitch);
  fill_zero(out + last * pitch, (w.columns - last) * pitch);
  out += first * pitch;
  const int64_t x = w.column + first * w.column_skip, count = last - first;
  if (image.layout == Layout::kChannelsLast) {
    const S* in = image.data + (y * image.width + x) * image.channels + w.channel;
    if (w.channels == image.channels && w.channels == pitch && w.column_skip == 1) {
      copy_run<S, T, T>(in, out, count * w.channels, nullptr);
      return;
    }
    const int64_t step = w.column_skip * image.channels;
    if (w.channels == kBlock<T>) {
      for (int64_t i = 0; i < count; ++i) copy_block(in + i * step, out + i * pitch);
      return;
    }
    for (int64_t i = 0; i < count; ++i) {
      copy_run<S, T, T>(in + i * step, out + i * pitch, w.channels, nullptr);
    }
    return;
  }
  const S* in = image.data + w.channel * plane + y * image.width + x;
  if (w.column_skip == 1) {
    if (pitch == 1) return copy_run<S, T, T>(in, out, count, nullptr);
    return transpose_copy<S, T, T>(in, plane, w.channels, count, out, pitch, nullptr);
  }
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t c = 0; c < w.channels; ++c) {
      out[i * pitch + c] = to_compute(in[c * plane + i * w.column_skip]);
    }
  }
}

// Channels are `pitch` >= window.channels apart; what lies between is left as it is.
template <class S>
void load_band(const Image<S>& image, const BandWindow& w, Compute<S>* out, int64_t pitch) {
  const bool whole_rows = w.column == 0 && w.columns == image.width && w.column_skip == 1;
  if (whole_rows && w.row_skip == 1 && w.row >= 0 && w.row + w.rows <= image.height) {
    const Image<S> one_row = {
        image.data +
            (image.layout == Layout::kContiguous ? 1 : image.channels) * w.row * image.width,
        image.layout, image.channels, 1, w.rows * image.width};
    BandWindow run = w;
    run.columns = one_row.width;
    return load_band_row(one_row, image.height * image.width, run, 0, out, pitch);
  }
  for (int64_t i = 0; i < w.rows; ++i, out += w.columns * pitch) {
    const int64_t y = w.row + i * w.row_skip;
    if (y < 0 || y >= image.height) {
      fill_zero(out, w.columns * pitch);
    } else {
      load_band_row(image, image.height * image.width, w, y, out, pitch);
    }
  }
}

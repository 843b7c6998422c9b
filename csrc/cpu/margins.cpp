#include "cpu/margins.h"

#include "cpu/common/arithmetic.h"
#include "cpu/simd/portable.h"

namespace torchconv::cpu {
namespace {

template <class S>
void add_row(const S* in, int64_t in_step, int64_t count, S* out, int64_t out_step) {
  for (int64_t i = 0; i < count; ++i) {
    S* const sum = out + i * out_step;
    from_compute(sum, to_compute(*sum) + to_compute(in[i * in_step]));
  }
}

template <class S>
void add_strip_of(const Conv2dShape& shape, const MarginStrip& strip, const S* from, int64_t begin,
                  int64_t end, S* to) {
  const Margins around = margins(shape);
  const Strides source = input_strides(strip.shape), place = input_strides(shape);
  const int64_t height = strip.shape.h, width = strip.shape.w;
  const auto in_at = [&](int64_t y, int64_t x) {
    return from + y * source.row + x * source.column;
  };
  const auto out_at = [&](int64_t y, int64_t x) {
    return to + around.row(strip.row + y, shape.h) * place.row +
           around.column(strip.column + x, shape.w) * place.column;
  };
  if (shape.layout == Layout::kChannelsLast) {
    for (int64_t y = 0; y < height; ++y) {
      for (int64_t x = 0; x < width; ++x)
        add_row(in_at(y, x) + begin, 1, end - begin, out_at(y, x) + begin, 1);
    }
    return;
  }
  // A column beside the input has the rows of the input; a row above or below it its columns, and corners.
  const Range rows = inside(strip.row, 1, height, shape.h);
  const bool beside = rows.begin == 0 && rows.end == height;
  const Range columns = inside(strip.column, 1, width, shape.w);
  for (int64_t c = begin; c < end; ++c) {
    const int64_t in = c * source.channel, out = c * place.channel;
    for (int64_t x = 0; beside && x < width; ++x)
      add_row(in_at(0, x) + in, source.row, height, out_at(0, x) + out, place.row);
    for (int64_t y = 0; !beside && y < height; ++y) {
      for (int64_t x = 0; x < columns.begin; ++x)
        add_row(in_at(y, x) + in, 1, 1, out_at(y, x) + out, 1);
      add_row(in_at(y, columns.begin) + in, 1, columns.end - columns.begin,
              out_at(y, columns.begin) + out, 1);
      for (int64_t x = columns.end; x < width; ++x)
        add_row(in_at(y, x) + in, 1, 1, out_at(y, x) + out, 1);
    }
  }
}

}  // namespace

MarginStrips::MarginStrips(const Conv2dShape& shape) {
  const int64_t height = shape.h + shape.pad_top + shape.pad_bottom,
                width = shape.w + shape.pad_left + shape.pad_right;
  // Rows [top, bottom) and columns [left, right) of the padded input.
  const auto cut = [&](int64_t top, int64_t bottom, int64_t left, int64_t right) {
    if (top == bottom || left == right) return;
    Conv2dShape strip = shape;
    strip.padding_mode = PaddingMode::kZeros;
    strip.h = bottom - top, strip.pad_top = top, strip.pad_bottom = height - bottom;
    strip.w = right - left, strip.pad_left = left, strip.pad_right = width - right;
    strips[count++] = {strip, top - shape.pad_top, left - shape.pad_left};
  };
  const int64_t bottom = shape.pad_top + shape.h, right = shape.pad_left + shape.w;
  cut(0, shape.pad_top, 0, width);
  cut(bottom, height, 0, width);
  cut(shape.pad_top, bottom, 0, shape.pad_left);
  cut(shape.pad_top, bottom, right, width);
}

void add_strip(const Conv2dShape& shape, const MarginStrip& strip, const void* gradient,
               int64_t image, int64_t begin, int64_t end, void* result) {
  dispatch_dtype(shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    add_strip_of<S>(shape, strip, (const S*)gradient + image * input_strides(strip.shape).image,
                    begin, end, (S*)result + image * input_strides(shape).image);
  });
}

}  // namespace torchconv::cpu

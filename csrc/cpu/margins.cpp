#include "cpu/margins.h"

#include "cpu/simd/portable.h"

namespace torchconv::cpu {
namespace {

template <class S>
void add_strip_of(const Conv2dShape& shape, const MarginStrip& strip, const S* from, int64_t begin,
                  int64_t end, S* to) {
  const Margins around = margins(shape);
  const Strides source = input_strides(strip.shape), place = input_strides(shape);
  const auto add_channels = [&](int64_t y, int64_t x, int64_t first, int64_t last) {
    const S* const in = from + y * source.row + x * source.column;
    S* const out = to + around.row(strip.row + y, shape.h) * place.row +
                   around.column(strip.column + x, shape.w) * place.column;
    for (int64_t c = first; c < last; ++c) {
      S* const sum = out + c * place.channel;
      from_compute(sum, to_compute(*sum) + to_compute(in[c * source.channel]));
    }
  };
  const int64_t step = shape.layout == Layout::kChannelsLast ? end - begin : 1;
  for (int64_t c = begin; c < end; c += step) {
    for (int64_t y = 0; y < strip.shape.h; ++y) {
      for (int64_t x = 0; x < strip.shape.w; ++x) add_channels(y, x, c, c + step);
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

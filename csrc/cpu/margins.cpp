#include "cpu/margins.h"

#include "cpu/common/arithmetic.h"
#include "cpu/simd/portable.h"

namespace torchconv::cpu {
namespace {

template <class S>
[[gnu::always_inline]] inline void add(const S* from, S* sum) {
  from_compute(sum, to_compute(*sum) + to_compute(*from));
}

template <class S>
void add_channels(const S* in, int64_t count, S* out) {
  for (int64_t i = 0; i < count; ++i) add(in + i, out + i);
}

template <class S>
void add_plane(const std::vector<MarginSpan>& spans, const S* in, S* out) {
  for (const MarginSpan& span : spans) {
    const S* const from = in + span.from;
    S* const to = out + span.to;
    if (span.from_step == 1 && span.to_step == 1) {
      for (int64_t i = 0; i < span.count; ++i) add(from + i, to + i);
    } else {
      for (int64_t i = 0; i < span.count; ++i)
        add(from + i * span.from_step, to + i * span.to_step);
    }
  }
}

template <class S>
void copy_elements(const S* in, int64_t count, S* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = in[i];
}

}  // namespace

MarginStrip padded_input(const Conv2dShape& given) {
  Conv2dShape shape = given;
  shape.h += shape.pad_top + shape.pad_bottom, shape.w += shape.pad_left + shape.pad_right;
  shape.pad_top = shape.pad_bottom = shape.pad_left = shape.pad_right = 0;
  shape.padding_mode = PaddingMode::kZeros;
  return {shape, -given.pad_top, -given.pad_left};
}

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

ReachingTaps::ReachingTaps(const Conv2dShape& strip) : shape(strip) {
  // Element i of an axis is tap t of output (i + before - t * dilation) / stride. As many outputs as ever.
  const auto leave_out = [](int64_t size, int64_t outputs, int64_t stride, int64_t dilation,
                            int64_t& taps, int64_t& before, int64_t& after) {
    const int64_t unreached = larger(0, before - (outputs - 1) * stride);
    const int64_t begin = smaller(ceil_div(unreached, dilation), before / dilation);
    const int64_t end = smaller(taps, (before + size - 1) / dilation + 1);
    const int64_t rest = smaller(taps - end, after / dilation);
    before -= begin * dilation, after -= rest * dilation;
    taps = larger(0, taps - rest - begin);
    return begin;
  };
  row = leave_out(shape.h, shape.p, shape.stride_h, shape.dilation_h, shape.r, shape.pad_top,
                  shape.pad_bottom);
  column = leave_out(shape.w, shape.q, shape.stride_w, shape.dilation_w, shape.s, shape.pad_left,
                     shape.pad_right);
}

void append_spans(const Conv2dShape& shape, const MarginStrip& strip, const PaddedGradient& from,
                  std::vector<MarginSpan>& spans) {
  const Margins around = margins(shape);
  const Strides source = from.strides, place = input_strides(shape);
  const auto append = [&](int64_t y, int64_t x, int64_t count, bool down) {
    spans.push_back({(y - from.row) * source.row + (x - from.column) * source.column,
                     down ? source.row : source.column,
                     around.row(y, shape.h) * place.row + around.column(x, shape.w) * place.column,
                     down ? place.row : place.column, count});
  };
  const int64_t bottom = strip.row + strip.shape.h, right = strip.column + strip.shape.w;
  // A column beside the input has the rows of the input; a row above or below it its columns, and corners.
  if (strip.row == 0 && bottom == shape.h) {
    for (int64_t x = strip.column; x < right; ++x) append(strip.row, x, shape.h, true);
    return;
  }
  for (int64_t y = strip.row; y < bottom; ++y) {
    for (int64_t x = strip.column; x < 0; ++x) append(y, x, 1, false);
    append(y, 0, shape.w, false);
    for (int64_t x = shape.w; x < right; ++x) append(y, x, 1, false);
  }
}

void add_spans(const Conv2dShape& shape, const std::vector<MarginSpan>& spans,
               const PaddedGradient& from, const void* gradient, int64_t channels, void* result) {
  dispatch_dtype(shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    const S* const in = (const S*)gradient;
    S* const out = (S*)result;
    if (shape.layout == Layout::kContiguous) {
      const int64_t plane = shape.h * shape.w;
      for (int64_t c = 0; c < channels; ++c)
        add_plane(spans, in + c * from.strides.channel, out + c * plane);
      return;
    }
    for (const MarginSpan& span : spans) {
      for (int64_t i = 0; i < span.count; ++i) {
        add_channels(in + span.from + i * span.from_step, channels,
                     out + span.to + i * span.to_step);
      }
    }
  });
}

void fold_padding(const Conv2dShape& shape, const std::vector<MarginSpan>& spans,
                  const PaddedGradient& from, const void* gradient, int64_t channels,
                  void* result) {
  const Strides source = from.strides, place = input_strides(shape);
  const int64_t inside = -from.row * source.row - from.column * source.column;
  dispatch_dtype(shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    const S* const in = (const S*)gradient;
    S* const out = (S*)result;
    const auto copy = [&](int64_t channel, int64_t length) {
      const S* const plane = in + channel * source.channel + inside;
      for (int64_t y = 0; y < shape.h; ++y)
        copy_elements(plane + y * source.row, length,
                      out + channel * place.channel + y * place.row);
    };
    if (shape.layout == Layout::kChannelsLast) {
      copy(0, shape.w * channels);
      return add_spans(shape, spans, from, in, channels, out);
    }
    for (int64_t c = 0; c < channels; ++c) {
      copy(c, shape.w);
      add_plane(spans, in + c * source.channel, out + c * place.channel);
    }
  });
}

}  // namespace torchconv::cpu

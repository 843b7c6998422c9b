// The input of grad_weight with what the taps of a pixel see beside each other, as [row][column][channel] of the
// layer that unfolded() makes (plan.h). It is made of spans of neighbouring elements: the taps of a row, in
// channels_last with all of their channels.
#pragma once

#include "cpu/common/copy.h"
#include "cpu/common/load_patch.h"

namespace torchconv::cpu {
namespace {

// A span, or a part of one, of several pixels that are `step` elements apart, to out + i * pitch. Up to `room`
// elements may be written there.
template <class In, class A>
void copy_spans(In in, int64_t length, int64_t step, int64_t pixels, A* out, int64_t pitch,
                int64_t room) {
  using V = Simd<A>;
  constexpr int64_t kLanes = V::kLanes;
  for (; length > 0; length -= kLanes, room -= kLanes, in = in + kLanes, out += kLanes) {
    if (length >= kLanes) {
      for (int64_t i = 0; i < pixels; ++i) V::store(out + i * pitch, V::load(in + i * step));
    } else if (room >= kLanes) {
      for (int64_t i = 0; i < pixels; ++i)
        V::store(out + i * pitch, V::load_first(in + i * step, length));
    } else {
      for (int64_t i = 0; i < pixels; ++i)
        V::store_first(out + i * pitch, V::load_first(in + i * step, length), length);
    }
  }
}

// Of the rows of pixels from `row` on: `count` channels of the unfolded layer, from `channel` on, whose tail up to
// `pitch` may be anything.
template <class S, class A>
void load_unfolded(const Image<S>& image, const Gather& layer, int64_t row, int64_t rows,
                   int64_t channel, int64_t count, A* out, int64_t pitch) {
  const bool contiguous = layer.layout == Layout::kContiguous;
  const int64_t pixel = contiguous ? 1 : image.channels, image_row = image.width * pixel;
  const int64_t span = layer.columns.kernel * pixel, step = layer.columns.src_step * pixel;
  const int64_t pixels = layer.columns.dst_size;
  for (int64_t y = row; y < row + rows; ++y) {
    for (int64_t at = 0, length; at < count; at += length) {
      const int64_t index = (channel + at) / span, begin = (channel + at) % span;
      length = smaller(span - begin, count - at);
      const int64_t plane = index / layer.rows.kernel, r = index % layer.rows.kernel;
      const int64_t in_row = plane * image.height + y * layer.rows.src_step + r;
      const S* const in = image.data + in_row * image_row + begin;
      if constexpr (std::is_same_v<A, Operand<S>>) {
        copy_spans(in, length, step, pixels, out + at, pitch, pitch - at);
      } else {
        const int64_t pairs = pixels / 2;
        copy_spans(RowPairs{in, step}, length, 2 * step, pairs, out + at, pitch, pitch - at);
        if (pixels % 2) {
          copy_spans(LonePairs{in + 2 * pairs * step}, length, 0, 1, out + pairs * pitch + at,
                     pitch, pitch - at);
        }
      }
    }
    out += (std::is_same_v<A, Operand<S>> ? pixels : ceil_div(pixels, 2)) * pitch;
  }
}

}  // namespace
}  // namespace torchconv::cpu

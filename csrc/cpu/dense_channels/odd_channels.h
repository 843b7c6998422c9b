// Pairs of channels where the blocks that are summed together have an odd number of them: the last channel of a
// block has +0 beside it, among the weights, too. Their product is +0, which changes no sum but -0, and that becomes
// +0 anyway (register_tile.h).
//
//     channels of a pixel    a b c d e   f g h i j      blocks of five
//     pairs                  ab cd e0    fg hi j0
//
// A: Pair, a parameter because levels without pairs have no vectors of them.
#pragma once

#include "cpu/common/load_patch.h"

namespace torchconv::cpu {
namespace {

// A call for each block of a pixel would take up to a sixth of a layer's time, a loop 5 % (21 channels, 1x1, Zen 4).
template <class A>
[[gnu::always_inline]] inline void copy_odd_block(OddPairs in, A* out) {
  using V = Simd<A>;
  if (in.pairs <= V::kLanes) return V::store_first(out, V::load_first(in, in.pairs), in.pairs);
  for (int64_t i = 0; i < in.pairs; i += V::kLanes) {
    const int64_t count = in.pairs - i;
    V::store_first(out + i, V::load_first(in + i, count), count);
  }
}

// `count` columns of a row of an image, `skip` apart, from its column x on; channels as a box has them, in pairs.
template <class A>
void load_odd_columns(const Image<BFloat16>& image, const SumOrder& order, const PatchBox& w,
                      int64_t y, int64_t x, int64_t count, A* out, int64_t pitch) {
  const int64_t c_block = order.c_block, blocks = w.channels / c_block, whole = c_block - 1;
  const int64_t single = order.block_channels(), channel = order.single(w.channel);
  if (image.layout == Layout::kChannelsLast) {
    const BFloat16* in = image.data + (y * image.width + x) * image.channels + channel;
    const int64_t step = w.column_skip * image.channels;
    for (int64_t i = 0; i < count; ++i, in += step, out += pitch) {
      const BFloat16* from = in;
      A* to = out;
      for (int64_t b = 0; b < blocks; ++b, from += single, to += c_block)
        copy_odd_block(OddPairs{from, c_block}, to);
    }
    return;
  }
  const int64_t plane = image.height * image.width;
  const BFloat16* in = image.data + channel * plane + y * image.width + x;
  for (int64_t b = 0; b < blocks; ++b, in += single * plane, out += c_block) {
    const BFloat16* const last = in + (single - 1) * plane;
    if (w.column_skip == 1) {
      transpose_copy(RowPairs{in, plane}, 2 * plane, whole, count, out, pitch, nullptr,
                     kTransposedSpan);
      transpose_copy(LonePairs{last}, plane, 1, count, out + whole, pitch);
      continue;
    }
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = i * w.column_skip;
      for (int64_t c = 0; c < whole; ++c)
        out[i * pitch + c] = RowPairs{in + 2 * c * plane, plane}[at];
      out[i * pitch + whole] = LonePairs{last}[at];
    }
  }
}

// As load_patch_row.
template <class A>
void load_odd_row(const Image<BFloat16>& image, const SumOrder& order, const PatchBox& w, int64_t y,
                  A* out, int64_t pitch) {
  const auto [first, last] = inside(w.column, w.column_skip, w.columns, image.width);
  const auto load = [&](int64_t i, int64_t x, int64_t count) {
    load_odd_columns(image, order, w, y, x, count, out + i * pitch, pitch);
  };
  load(first, w.column + first * w.column_skip, last - first);
  repeat_columns(
      image, w, first, last, [&](int64_t i) { fill_zero(out + i * pitch, pitch); },
      [&](int64_t i, int64_t from) {
        for (int64_t c = 0; c < w.channels; ++c) out[i * pitch + c] = out[from * pitch + c];
      },
      [&](int64_t i, int64_t x) { load(i, x, 1); });
}

// As load_sections; channels are pairs, and an image has single ones.
template <class A>
void load_odd_sections(const Image<BFloat16>& image, const Patch& patch, const Gather& gather,
                       int64_t first, int64_t count, int64_t most, int64_t channel,
                       int64_t channels, A* out, int64_t pitch) {
  for (int64_t i = 0; i < patch.sections; ++i) {
    const PatchBox box = section_box(patch, gather, i, first, count, channel, channels);
    load_rows(image, box, out + i * patch.section_rows(most) * patch.columns * pitch, pitch,
              [&](int64_t y, A* to) { load_odd_row(image, gather.order, box, y, to, pitch); });
  }
}

}  // namespace
}  // namespace torchconv::cpu

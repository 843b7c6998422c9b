// Loads and packs pairs of taps: see tap_steps.h. A patch is loaded once as single elements, and from there
// every image of pairs is one copy of two rows of memory.
//
// The last tap of an odd number has zeros beside it on both sides: with another element of the source in
// their place, an infinite one would make a NaN of it. Their product is +0, which changes no sum but -0, and
// that becomes +0 anyway (register_tile.h).
//
// A: Pair, a parameter because levels without pairs have no vectors of them.
#pragma once

#include "cpu/common/copy.h"
#include "cpu/common/load_patch.h"
#include "cpu/dense_channels/tap_steps.h"

namespace torchconv::cpu {
namespace {

// One row of a box.
inline void load_elements(const Image<BFloat16>& image, const PatchBox& box, int64_t y,
                          BFloat16* out) {
  const int64_t channels = box.channels;
  const auto [first, last] = inside(box.column, 1, box.columns, image.width);
  fill_zero(out, first * channels);
  fill_zero(out + last * channels, (box.columns - last) * channels);
  const bool channels_last = image.layout == Layout::kChannelsLast;
  const int64_t pixel = channels_last ? image.channels : 1;
  const int64_t plane = box.channel * (channels_last ? 1 : image.height * image.width);
  const BFloat16* const row = image.data + plane + y * image.width * pixel;
  const auto load = [&](int64_t i, int64_t x) {
    for (int64_t c = 0; c < channels; ++c) out[i * channels + c] = row[x * pixel + c];
  };
  if (image.margins.any()) {
    repeat_columns(
        image, box, first, last, [](int64_t) {},
        [&](int64_t i, int64_t from) { load(i, box.column + from); }, load);
  }
  if (first == last) return;
  const BFloat16* const in = row + (box.column + first) * pixel;
  out += first * channels;
  const int64_t count = last - first;
  if (pixel == channels) {
    __builtin_memcpy(out, in, (size_t)(count * channels) * sizeof(BFloat16));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t c = 0; c < channels; ++c) out[i * channels + c] = in[i * pixel + c];
  }
}

// As load_sections, from channel to channel where `planar`.
inline void load_single_elements(const Image<BFloat16>& image, const Patch& patch,
                                 const Gather& gather, int64_t first, int64_t count, int64_t most,
                                 int64_t channel, bool planar, BFloat16* out) {
  const int64_t channels = planar ? 1 : gather.src_channels, row = patch.columns * channels;
  for (int64_t c = 0; c < gather.src_channels; c += channels) {
    for (int64_t section = 0; section < patch.sections; ++section) {
      const PatchBox box = section_box(patch, gather, section, first, count, channel + c, channels);
      load_rows(image, box, out + (c * patch.rows(most) + section * patch.section_rows(most)) * row,
                channels, [&](int64_t y, BFloat16* to) { load_elements(image, box, y, to); });
    }
  }
}

// All images of pairs of so many elements, one after the other. Where a second element would lie outside,
// there is no step that reads the pair.
template <class A>
void pair_elements(const TapSteps& steps, const TapPitches& pitch, const BFloat16* in,
                   int64_t elements, A* out) {
  for (int64_t i = 0; i < kSeconds; ++i) {
    const Second second = (Second)i;
    if (!steps.has(second)) continue;
    if (second == kNothing) {
      copy_span(LonePairs{in}, out, elements);
    } else {
      const int64_t apart = steps.apart(second, pitch);
      const int64_t begin = larger(0, -apart), end = elements - larger(0, apart);
      copy_span(RowPairs{in + begin, apart}, out + begin, end - begin);
    }
    out += elements;
  }
}

// Packs the lanes [lane, lane + valid) of one group as [step][width], with zeros in surplus lanes and beside
// a tap that is alone.
template <class A>
void pack_tap_pairs(const Task& task, const Gather& gather, int64_t group, int64_t lane,
                    int64_t valid, int64_t width, A* out) {
  const int64_t* const stride = task.weight_stride;
  const BFloat16* const weight =
      (const BFloat16*)task.weight + (group * gather.dst_channels + lane) * stride[0];
  const TapSteps steps(gather);
  const TapPitches pitch = {stride[1], stride[2], stride[3]};
  steps.each([&](int64_t c, int64_t r, int64_t s, Second second) {
    const BFloat16* at = weight + c * stride[1] + r * stride[2] + s * stride[3];
    const int64_t apart = steps.apart(second, pitch);
    for (int64_t l = 0; l < valid; ++l, at += stride[0])
      out[l] = make_pair(*at, second == kNothing ? BFloat16{0} : at[apart]);
    fill_zero(out + valid, width - valid);
    out += width;
  });
}

}  // namespace
}  // namespace torchconv::cpu

// One tile of an image in any dtype and layout, transformed: for the source of winograd and for both operands
// of winograd_grad_weight.
#pragma once

#include "cpu/common/load_patch.h"
#include "cpu/winograd/grad_transforms.h"
#include "cpu/winograd/strided_transforms.h"
#include "cpu/winograd/transforms.h"

namespace torchconv::cpu {
namespace {

// Pixels [top, bottom) x [left, right) of an image, channels side by side, among zeros or what padding
// repeats. It may have no more than every row_skip-th row.
template <class In>
struct Window {
  const In* data;  // of pixel (top, left)
  int64_t top, bottom, left, right;
  int64_t row, column;  // elements from one to the next
  int64_t row_skip = 1;
  Margins margins = {};  // of whole images

  const In* at(int64_t y, int64_t x) const {
    return data + (y - top) / row_skip * row + (x - left) * column;
  }
};

// The first pixel of a tile, and how far its pixels are apart.
struct TilePixels {
  int64_t row, column;
  int64_t down = 1, across = 1;
  bool odd_down = false, odd_across = false;  // for pixel()
};

// Where a channel of a tile goes, at point 0: in blocks of `block` channels that are block_pitch apart.
template <class T>
struct ChannelPlace {
  T* data;
  int64_t first;  // channel 0 of the tile is this one
  int64_t block, block_pitch;

  T* at(int64_t c) const { return data + (first + c) / block * block_pitch + (first + c) % block; }
};

// What becomes of a tile: along each axis kSide pixels, at pixel(), become values at kPoints.
template <class DownAxis, class AcrossAxis>
struct TileKind {
  using Down = DownAxis;
  using Across = AcrossAxis;
};

template <class A>
struct SourceAxis : A {
  template <class V>
  static void transform(const typename V::Vec (&in)[A::kSide], typename V::Vec (&out)[A::kPoints]) {
    source_transform<V>(A{}, in, out);
  }
};
template <class F>
using SourceTile = TileKind<SourceAxis<typename F::Down>, SourceAxis<typename F::Across>>;

// One block of lanes: out[point * pitch] = B^T d B, d(i, j) being in memory at at(i, j).
template <class Kind, class T, class At>
void transform_tile(const At& at, T* out, int64_t pitch) {
  using V = Simd<T>;
  using Down = typename Kind::Down;
  using Across = typename Kind::Across;
  for (int64_t lane = 0; lane < kLaneBlock<T>; lane += V::kLanes) {
    transform_both_axes<V, Down::kSide, Down::kPoints, Across::kSide, Across::kPoints>(
        [](const auto& d, auto& values) { Down::template transform<V>(d, values); },
        [](const auto& d, auto& values) { Across::template transform<V>(d, values); },
        [&](int i, int j) { return V::load(at(i, j) + lane); },
        [&](int i, int j, typename V::Vec value) {
          V::store(out + lane + (i * Across::kPoints + j) * pitch, value);
        });
  }
}

// The pixels of a tile at the edge of an image, and zeros.
template <class Kind, class In>
struct EdgeTile {
  static constexpr int kRows = Kind::Down::kSide, kColumns = Kind::Across::kSide;
  alignas(64) In zeros[kLaneBlock<Compute<In>>] = {};
  const In* pixels[kRows][kColumns];
  int64_t in_image[kRows][kColumns];  // a mask: no offset leaves the zeros

  EdgeTile(const Window<In>& window, const TilePixels& tile) {
    for (int64_t i = 0; i < kRows; ++i) {
      for (int64_t j = 0; j < kColumns; ++j) {
        const int64_t y = tile.row + Kind::Down::pixel(i, tile.odd_down) * tile.down;
        const int64_t x = tile.column + Kind::Across::pixel(j, tile.odd_across) * tile.across;
        const int64_t down = window.margins.row(y - window.top, window.bottom - window.top);
        const int64_t right = window.margins.column(x - window.left, window.right - window.left);
        const bool inside = down >= 0 && right >= 0;
        pixels[i][j] = inside ? window.at(window.top + down, window.left + right) : zeros;
        in_image[i][j] = inside ? -1 : 0;
      }
    }
  }
  const In* at(int i, int j, int64_t c) const { return pixels[i][j] + (c & in_image[i][j]); }
  // Goes on with copies of the last block.
  void replace(const In (&copies)[kRows][kColumns][kLaneBlock<Compute<In>>]) {
    for (int i = 0; i < kRows; ++i) {
      for (int j = 0; j < kColumns; ++j) pixels[i][j] = copies[i][j], in_image[i][j] = 0;
    }
  }
};

// One tile, all `channels` of the window. A last block of lanes that is not whole is filled up with zeros.
template <class Kind, class In>
void load_tile(const Window<In>& window, const TilePixels& pixels, int64_t channels,
               const ChannelPlace<Compute<In>>& place, int64_t pitch) {
  using Down = typename Kind::Down;
  using Across = typename Kind::Across;
  constexpr int64_t kBlock = kLaneBlock<Compute<In>>;
  const int64_t whole = channels / kBlock * kBlock;
  const bool inside = pixels.row >= window.top &&
                      pixels.row + (Down::kReach - 1) * pixels.down < window.bottom &&
                      pixels.column >= window.left &&
                      pixels.column + (Across::kReach - 1) * pixels.across < window.right;
  if (inside) {
    const In* const first = window.at(pixels.row, pixels.column);
    const int64_t row = pixels.down / window.row_skip * window.row,
                  column = pixels.across * window.column;
    for (int64_t c = 0; c < whole; c += kBlock) {
      const auto at = [=](int i, int j) {
        return first + c + Down::pixel(i, pixels.odd_down) * row +
               Across::pixel(j, pixels.odd_across) * column;
      };
      transform_tile<Kind>(at, place.at(c), pitch);
    }
    if (whole == channels) return;
  }
  EdgeTile<Kind, In> tile(window, pixels);
  alignas(64) In rest[Down::kSide][Across::kSide][kBlock];
  for (int64_t c = inside ? whole : 0; c < channels; c += kBlock) {
    if (c == whole) {
      __builtin_memset(rest, 0, sizeof(rest));
      for (int i = 0; i < Down::kSide; ++i) {
        for (int j = 0; j < Across::kSide; ++j)
          __builtin_memcpy(rest[i][j], tile.at(i, j, c), (channels - c) * sizeof(In));
      }
      tile.replace(rest);
    }
    transform_tile<Kind>([&](int i, int j) { return tile.at(i, j, c); }, place.at(c), pitch);
  }
}

// load(window) with the pixels of a box, which may stick out of the image: the image itself where its channels
// lie side by side, else a patch of it in `space`.
template <class S, class Load>
void with_window(const Image<S>& image, const PatchBox& box, Compute<S>* space, const Load& load) {
  if (image.layout == Layout::kChannelsLast) {
    return load(Window<S>{image.data + box.channel, 0, image.height, 0, image.width,
                          image.width * image.channels, image.channels, 1, image.margins});
  }
  const Margins& around = image.margins;
  const Range rows = inside(box.row + around.top, box.row_skip, box.rows,
                            around.top + image.height + around.bottom);
  const Range columns =
      inside(box.column + around.left, 1, box.columns, around.left + image.width + around.right);
  PatchBox part = box;
  part.row += rows.begin * box.row_skip, part.rows = rows.end - rows.begin;
  part.column += columns.begin, part.columns = columns.end - columns.begin;
  const int64_t pixel = round_up(box.channels, kLaneBlock<Compute<S>>);
  load_patch(image, part, space, pixel);
  load(Window<Compute<S>>{space, part.row, part.row + part.rows * box.row_skip, part.column,
                          part.column + part.columns, part.columns * pixel, pixel, box.row_skip});
}

}  // namespace
}  // namespace torchconv::cpu

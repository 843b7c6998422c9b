// The store stage of dense_channels: sums [pixels][lanes] to both layouts and all types.
#pragma once

#include "cpu/common/activate.h"
#include "cpu/common/copy.h"
#include "cpu/common/gather.h"

namespace torchconv::cpu {
namespace {

// The store stage: sums [pixels][width] of one image go to their places in the result.
template <class S>
struct RowStore {
  using T = Compute<S>;
  S* result;                        // of this image and channel 0 of the slab
  int64_t channels, height, width;  // of the whole result
  int64_t valid;                    // channels of this slab
  Layout layout;
  const Task& task;

  S* pixel(int64_t row, int64_t column) const {
    return result + (row * width + column) * (layout == Layout::kChannelsLast ? channels : 1);
  }

  // Asks for the lines of `count` pixels from `first` on.
  void fetch(int64_t first, int64_t count) const {
    if (layout == Layout::kContiguous) prefetch_rows(pixel(0, first), height * width, valid, count);
  }

  // `count` pixels, `step` apart, from pixel `first` of the image on.
  void run(const T* sums, int64_t sums_width, int64_t first, int64_t count, int64_t step) const {
    S* const out = pixel(0, first);
    const int64_t plane = height * width;
    if constexpr (std::is_same_v<S, T>) {
      if (task.replaces_residual())
        return activate<S>(task, sums, sums_width, out, count, channels, valid);
    }
    if (layout == Layout::kChannelsLast) {
      for (int64_t j = 0; j < count; ++j) {
        copy_span(sums + j * sums_width, out + j * step * channels, valid);
      }
    } else if (step == 1) {
      transpose_copy(sums, sums_width, count, valid, out, plane);
    } else if constexpr (std::is_same_v<S, T>) {
      for (int64_t k = 0; k < valid; ++k) {
        for (int64_t j = 0; j < count; ++j) out[k * plane + j * step] = sums[j * sums_width + k];
      }
    } else {
      spread_planes(sums, sums_width, out, count, step);
    }
    activate_pixels(first, count);
  }

  // To planes, of which they are one phase; rounded first.
  void spread_planes(const T* sums, int64_t sums_width, S* out, int64_t count, int64_t step) const {
    constexpr int64_t kPixels = 64, kChannels = 16;
    const int64_t plane = height * width;
    S rows[kChannels * kPixels];
    for (int64_t j = 0; j < count; j += kPixels) {
      const int64_t pixels = smaller(kPixels, count - j);
      for (int64_t k = 0; k < valid; k += kChannels) {
        const int64_t channels = smaller(kChannels, valid - k);
        transpose_copy(sums + j * sums_width + k, sums_width, pixels, channels, rows, kPixels);
        for (int64_t c = 0; c < channels; ++c) {
          for (int64_t i = 0; i < pixels; ++i)
            out[(k + c) * plane + (j + i) * step] = rows[c * kPixels + i];
        }
      }
    }
  }

  // Of a forward pass, whose pixels are neighbours.
  void activate_pixels(int64_t first, int64_t count) const {
    if (!task.activates()) return;
    if (layout == Layout::kChannelsLast) {
      activate(task, pixel(0, first), count, channels, valid);
    } else {
      activate(task, pixel(0, first), valid, height * width, count);
    }
  }

  void operator()(const T* sums, int64_t sums_width, int64_t row, const AxisPhase& columns,
                  int64_t step) const {
    run(sums, sums_width, row * width + columns.dst_first, columns.size, step);
  }
};

}  // namespace
}  // namespace torchconv::cpu

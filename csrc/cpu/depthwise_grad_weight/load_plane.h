// The load stage of depthwise's weight gradient with pixels in the lanes and stride one: rows of a plane in the
// compute type, each on whole vectors. What pads a row on its right and the next one on its left lies between
// them, zeros or what padding repeats.
#pragma once

#include "cpu/common/load_patch.h"
#include "cpu/depthwise_grad_weight/plan.h"

namespace torchconv::cpu {
namespace {

// A row, then zeros up to the next one.
template <class S>
void load_plane_row(const S* in, int64_t width, int64_t pitch, Compute<S>* out) {
  using V = Simd<Compute<S>>;
  int64_t i = 0;
  for (; i + V::kLanes <= width; i += V::kLanes) V::store(out + i, V::load(in + i));
  if (i < width) V::store(out + i, V::load_first(in + i, width - i)), i += V::kLanes;
  for (; i < pitch; i += V::kLanes) V::store(out + i, V::zero());
}

// `rows` rows of a plane from source row `row` on, `skip` apart, to pixel 0 of the first one.
template <class S>
void load_plane(const Image<S>& image, int64_t plane, int64_t row, int64_t skip, int64_t rows,
                const PlaneRows& at, Compute<S>* out) {
  const S* const in = image.data + plane * image.height * image.width;
  const int64_t width = image.width;
  fill_zero(out - at.lead, at.lead);
  for (int64_t i = 0; i < rows; ++i, out += at.pitch) {
    const int64_t y = image.row(row + i * skip);
    if (y < 0) {
      fill_zero(out, at.pitch);
      continue;
    }
    load_plane_row(in + y * width, width, at.pitch, out);
    const auto repeat = [&](int64_t x) { out[x] = out[image.margins.column(x, width)]; };
    for (int64_t x = -image.margins.left; x < 0; ++x) repeat(x);
    for (int64_t x = width; x < width + image.margins.right; ++x) repeat(x);
  }
}

}  // namespace
}  // namespace torchconv::cpu

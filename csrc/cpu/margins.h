// The input gradient of a layer whose padding repeats elements of its input: that of the input among zeros,
// and added to it that of the padding, which is computed in up to four strips:
//
//      t t t t t t
//      l . . . . r      Each is a layer of its own, of an image that is cut out of the padded one: what is
//      l . . . . r      beside it counts as padding.
//      b b b b b b
//
// In this order, so that a sum depends on the shape alone. No torch, no SIMD.
#pragma once

#include "cpu/plan.h"

namespace torchconv::cpu {

struct MarginStrip {
  Conv2dShape shape;    // the strip as an input
  int64_t row, column;  // of its first pixel, as coordinates of the input
};

struct MarginStrips {
  int64_t count = 0;
  MarginStrip strips[4];

  explicit MarginStrips(const Conv2dShape& shape);
};

// Adds the gradient of a strip, of the channels [begin, end) of one image, to that of the input.
void add_strip(const Conv2dShape& shape, const MarginStrip& strip, const void* gradient,
               int64_t image, int64_t begin, int64_t end, void* result);

}  // namespace torchconv::cpu

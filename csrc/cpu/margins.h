// The input gradient of a layer whose padding repeats elements of its input: that of the input among zeros,
// and added to it that of the padding, in up to four strips:
//
//      t t t t t t
//      l . . . . r      Each is a layer of its own, of an image that is cut out of the padded one: what is
//      l . . . . r      beside it counts as padding. Few taps of the kernel reach it.
//      b b b b b b
//
// In this order, so that a sum depends on the shape alone. Algorithms that fold the padding themselves
// (Algorithm::folds_padding) compute some layers as a whole. No torch, no SIMD.
#pragma once

#include <vector>

#include "cpu/common/arithmetic.h"
#include "cpu/plan.h"

namespace torchconv::cpu {

struct MarginStrip {
  Conv2dShape shape;    // the strip as an input
  int64_t row, column;  // of its first pixel, as coordinates of the input
};

// The padded image as an input.
MarginStrip padded_input(const Conv2dShape& shape);

struct MarginStrips {
  int64_t count = 0;
  MarginStrip strips[4];

  explicit MarginStrips(const Conv2dShape& shape);
};

// A strip as a layer of those taps alone that reach it, of which the first is this one of the kernel. Its sums are
// those of another kernel size: other partial sums. No taps: the gradient is zero.
struct ReachingTaps {
  Conv2dShape shape;
  int64_t row, column;

  explicit ReachingTaps(const Conv2dShape& strip);
  bool any() const { return shape.r > 0 && shape.s > 0; }
};

// The gradient of one padded image, or of a part of it, in memory.
struct PaddedGradient {
  Strides strides;
  int64_t row, column;  // of its first pixel, as coordinates of the input
};

// Pixels of the padding and those of the input that they repeat, as elements of one channel of both gradients.
struct MarginSpan {
  int64_t from, from_step, to, to_step, count;
};

// Of a strip, in the order of its sums.
void append_spans(const Conv2dShape& shape, const MarginStrip& strip, const PaddedGradient& from,
                  std::vector<MarginSpan>& spans);

// result += gradient, for some channels of one image. Both pointers are those of the first pixel and channel.
void add_spans(const Conv2dShape& shape, const std::vector<MarginSpan>& spans,
               const PaddedGradient& from, const void* gradient, int64_t channels, void* result);

// The same of the whole padded image, whose inside the result is before.
void fold_padding(const Conv2dShape& shape, const std::vector<MarginSpan>& spans,
                  const PaddedGradient& from, const void* gradient, int64_t channels, void* result);

}  // namespace torchconv::cpu

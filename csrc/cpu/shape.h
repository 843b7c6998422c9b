// A shape with what the CPU alone knows: the mode of the padding. Elsewhere the input is padded before
// (torchconv/functional.py), and so the kernels of GPUs stay those that were accepted.
#pragma once

#include "conv2d.h"
#include "padding_mode.h"

namespace torchconv::cpu {

struct Conv2dShape : torchconv::Conv2dShape {
  Conv2dShape() = default;
  Conv2dShape(const torchconv::Conv2dShape& shape, PaddingMode mode = PaddingMode::kZeros)
      : torchconv::Conv2dShape(shape), padding_mode(mode) {}

  PaddingMode padding_mode = PaddingMode::kZeros;  // as it is where there is no padding
};

inline Margins margins(const Conv2dShape& d) {
  if (d.padding_mode == PaddingMode::kZeros) return {};
  return {d.padding_mode, d.pad_top, d.pad_bottom, d.pad_left, d.pad_right};
}

}  // namespace torchconv::cpu

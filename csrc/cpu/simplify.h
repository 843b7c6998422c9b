// A layer that is another one in disguise, written as the simpler of the two, over the same memory
// and with the same sums. No torch, no SIMD.
#pragma once

#include "cpu/plan.h"

namespace torchconv::cpu {

// In channels_last the sums would be taken in another order.
inline bool is_full_image(const Conv2dShape& shape) {
  return shape.layout == Layout::kContiguous && covers_image(shape);
}

inline Conv2dShape simplified(Conv2dShape shape) {
  if (is_full_image(shape)) {
    shape.c *= shape.h * shape.w;
    shape.h = shape.w = shape.r = shape.s = 1;
    shape.stride_h = shape.stride_w = shape.dilation_h = shape.dilation_w = 1;
  }
  // Images of one pixel are a matrix of images x channels.
  if (shape.h == 1 && shape.w == 1 && shape.r == 1 && shape.s == 1 && shape.p == 1 &&
      shape.q == 1) {
    shape.layout = Layout::kChannelsLast;
  }
  return shape;
}

inline Task simplified(Task task) {
  const int64_t* const stride = task.weight_stride;
  const Conv2dShape& shape = task.shape;
  const bool dense_filters =
      stride[3] == 1 && stride[2] == shape.s && stride[1] == shape.r * shape.s;
  if (is_full_image(shape) && shape.h * shape.w > 1) {
    if (!dense_filters) return task;
    task.weight_stride[1] = 1;
  }
  task.shape = simplified(shape);
  return task;
}

}  // namespace torchconv::cpu

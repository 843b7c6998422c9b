// A layer that is another one in disguise, written as the simpler of the two, over the same memory
// and with the same sums. No torch, no SIMD.
#pragma once

#include "cpu/plan.h"

namespace torchconv::cpu {

// In channels_last the sums would be taken in another order.
inline bool is_full_image(const Conv2dShape& d) {
  return d.layout == Layout::kContiguous && covers_image(d);
}

inline Conv2dShape simplified(Conv2dShape d) {
  if (is_full_image(d)) {
    d.c *= d.h * d.w;
    d.h = d.w = d.r = d.s = 1;
    d.stride_h = d.stride_w = d.dilation_h = d.dilation_w = 1;
  }
  // Images of one pixel are a matrix of images x channels.
  if (d.h == 1 && d.w == 1 && d.r == 1 && d.s == 1 && d.p == 1 && d.q == 1) {
    d.layout = Layout::kChannelsLast;
  }
  return d;
}

inline Task simplified(Task task) {
  const int64_t* const stride = task.weight_stride;
  const Conv2dShape& d = task.shape;
  const bool dense_filters = stride[3] == 1 && stride[2] == d.s && stride[1] == d.r * d.s;
  if (is_full_image(d) && d.h * d.w > 1) {
    if (!dense_filters) return task;
    task.weight_stride[1] = 1;
  }
  task.shape = simplified(d);
  return task;
}

}  // namespace torchconv::cpu

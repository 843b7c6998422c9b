// A layer that is another one in disguise, written as the simpler of the two, over the same memory
// and with the same sums. No torch, no SIMD.
#pragma once

#include <memory>

#include "cpu/common/element.h"
#include "cpu/common/sum_order.h"
#include "cpu/plan.h"

namespace torchconv::cpu {

// In channels_last the products lie in another order than that of their sum; few channels are summed
// as depthwise layers are.
inline bool is_full_image(const Conv2dShape& shape) {
  return shape.layout == Layout::kContiguous && covers_image(shape) &&
         shape.c_per_group() > sum_order::kPlaneByPlane;
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

// The same of a task. Filters that do not lie one after the other, as those of a slice may not, are
// copied: a layer that is summed as another one always is, whatever the strides.
class SimplifiedTask {
 public:
  explicit SimplifiedTask(const Task& given) : task_(given) {
    const Conv2dShape& shape = given.shape;
    int64_t* const stride = task_.weight_stride;
    if (is_full_image(shape) && shape.h * shape.w > 1) {
      const bool dense = stride[3] == 1 && stride[2] == shape.s && stride[1] == shape.r * shape.s;
      if (!dense && given.op == Op::kGradWeight) return;  // sums of another kind
      if (!dense) copy_filters(given);
      stride[1] = 1;
    }
    task_.shape = simplified(shape);
  }

  const Task& operator()() const { return task_; }

 private:
  void copy_filters(const Task& given) {
    const Conv2dShape& shape = given.shape;
    const int64_t bytes = stored_bytes(shape.dtype);
    const int64_t* const stride = given.weight_stride;
    const int64_t filter = shape.c_per_group() * shape.r * shape.s;
    filters_.reset(new char[shape.k * filter * bytes]);
    char* out = filters_.get();
    for (int64_t k = 0; k < shape.k; ++k) {
      for (int64_t c = 0; c < shape.c_per_group(); ++c) {
        for (int64_t r = 0; r < shape.r; ++r) {
          for (int64_t s = 0; s < shape.s; ++s, out += bytes) {
            const int64_t at = k * stride[0] + c * stride[1] + r * stride[2] + s * stride[3];
            std::memcpy(out, (const char*)given.weight + at * bytes, bytes);
          }
        }
      }
    }
    task_.weight = filters_.get();
    task_.weight_stride[0] = filter;
  }

  Task task_;
  std::unique_ptr<char[]> filters_;
};

}  // namespace torchconv::cpu

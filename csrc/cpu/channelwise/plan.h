// How the mean of every channel, and the product of every channel with a number of its own, are cut into
// jobs: what squeeze-and-excitation (Hu et al., 2018, https://arxiv.org/abs/1709.01507) does beside its
// convolutions. In channels_last; rows of pixels go to the threads that computed them.
#pragma once

#include "cpu/common/element.h"
#include "cpu/plan.h"

namespace torchconv::cpu {

// Of task.input, [n, h, w, c]. The mean has the size [n, c], and so has task.weight, the other factor of the
// product.
struct ChannelwisePlan {
  int64_t rows, pixels, c;  // of an image, of a row, of a pixel
};

inline ChannelwisePlan channelwise(const Conv2dShape& shape) {
  return {shape.h, shape.w, shape.c};
}

// Stage 0 sums the pixels of each row, stage 1 the rows of an image.
inline void plan_channel_mean(const Conv2dShape& shape, Plan& plan) {
  plan.keep(channelwise(shape));
  plan.stages = 2;
  plan.jobs[0] = shape.n * shape.h, plan.jobs[1] = shape.n;
  plan.shared_bytes = shape.n * shape.h * shape.c * compute_bytes(shape.dtype);
}

inline void plan_channel_product(const Conv2dShape& shape, Plan& plan) {
  plan.keep(channelwise(shape));
  plan.jobs[0] = shape.n * shape.h;
}

}  // namespace torchconv::cpu

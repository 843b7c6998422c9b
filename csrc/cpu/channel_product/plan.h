// How the product of every channel with a factor of its own is cut into jobs: what squeeze-and-excitation
// (Hu et al., 2018, https://arxiv.org/abs/1709.01507) ends with. In channels_last; rows of pixels go to the
// threads that computed them.
#pragma once

#include "cpu/common/element.h"
#include "cpu/plan.h"

namespace torchconv::cpu {

// Of task.input, [n, h, w, c], and the factors, task.weight, [n, c].
struct ChannelProductPlan {
  int64_t rows, pixels, c;  // of an image, of a row, of a pixel
};

inline void plan_channel_product(const Conv2dShape& shape, Plan& plan) {
  plan.keep(ChannelProductPlan{shape.h, shape.w, shape.c});
  plan.jobs[0] = shape.n * shape.h;
}

}  // namespace torchconv::cpu

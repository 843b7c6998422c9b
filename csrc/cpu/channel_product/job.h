// A job of plan.h: a row of pixels.
#pragma once

#include "cpu/channel_product/plan.h"
#include "cpu/common/arithmetic.h"
#include "cpu/simd/simd.h"

namespace torchconv::cpu {
namespace {

template <class S>
void multiply(const S* in, const S* factor, int64_t count, S* out) {
  using V = Simd<Compute<S>>;
  for (int64_t i = 0; i < count; i += V::kLanes) {
    const int64_t left = count - i;
    if (left >= V::kLanes) {
      V::store(out + i, V::mul(V::load(in + i), V::load(factor + i)));
    } else {
      V::store_first(out + i, V::mul(V::load_first(in + i, left), V::load_first(factor + i, left)),
                     left);
    }
  }
}

inline void channel_product(const Task& task, const Job& job) {
  const auto& plan = *(const ChannelProductPlan*)job.details;
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    const S* const factor = (const S*)task.weight + job.index / plan.rows * plan.c;
    const int64_t row = job.index * plan.pixels * plan.c;
    for (int64_t pixel = 0; pixel < plan.pixels; ++pixel) {
      const int64_t at = row + pixel * plan.c;
      multiply((const S*)task.input + at, factor, plan.c, (S*)task.result + at);
    }
  });
}

}  // namespace
}  // namespace torchconv::cpu

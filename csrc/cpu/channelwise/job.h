// The jobs of plan.h: lanes are channels, so that every level has the same sums.
#pragma once

#include "cpu/channelwise/plan.h"
#include "cpu/common/sum_order.h"
#include "cpu/simd/simd.h"

namespace torchconv::cpu {
namespace {

// Writes the sums of `count` rows of `c` channels: chains of kMeanChain, one after the other.
template <class S, class T>
void sum_rows(const S* in, int64_t count, int64_t c, T* out) {
  using V = Simd<T>;
  for (int64_t i = 0; i < c; i += V::kLanes) {
    const int64_t left = c - i;
    const bool whole = left >= V::kLanes;
    typename V::Vec sum = V::zero();
    for (int64_t begin = 0; begin < count; begin += sum_order::kMeanChain) {
      const int64_t end = smaller(count, begin + sum_order::kMeanChain);
      typename V::Vec chain = V::zero();
      for (int64_t row = begin; row < end; ++row) {
        const S* const at = in + row * c + i;
        chain = V::add(chain, whole ? V::load(at) : V::load_first(at, left));
      }
      sum = V::add(sum, chain);
    }
    if (whole) {
      V::store(out + i, sum);
    } else {
      V::store_first(out + i, sum, left);
    }
  }
}

template <class S, class T>
void divide(const T* in, int64_t count, T divisor, S* out) {
  using V = Simd<T>;
  const typename V::Vec by = V::broadcast(divisor);
  for (int64_t i = 0; i < count; i += V::kLanes) {
    const int64_t left = count - i;
    if (left >= V::kLanes) {
      V::store(out + i, V::div(V::load(in + i), by));
    } else {
      V::store_first(out + i, V::div(V::load_first(in + i, left), by), left);
    }
  }
}

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

inline void channel_mean(const Task& task, const Job& job) {
  const auto& plan = *(const ChannelwisePlan*)job.details;
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    using T = Compute<S>;
    T* const sums = (T*)job.shared;
    if (job.stage == 0) {
      const S* const row = (const S*)task.input + job.index * plan.pixels * plan.c;
      return sum_rows(row, plan.pixels, plan.c, sums + job.index * plan.c);
    }
    T* const image = sums + job.index * plan.rows * plan.c;
    sum_rows(image, plan.rows, plan.c,
             image);  // its first row, a vector of channels after the other
    divide(image, plan.c, (T)(plan.rows * plan.pixels), (S*)task.result + job.index * plan.c);
  });
}

inline void channel_product(const Task& task, const Job& job) {
  const auto& plan = *(const ChannelwisePlan*)job.details;
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

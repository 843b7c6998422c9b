// One job of grad_bias: see algorithm.cpp.
#pragma once

#include "cpu/common/copy.h"
#include "cpu/grad_bias/plan.h"

namespace torchconv::cpu {
namespace {

template <class S>
void sum_planes(const Task& task, int64_t channel) {
  using T = Compute<S>;
  using V = Simd<T>;
  constexpr int64_t kLanes = V::kLanes, kSums = sum_order::kPlaneSums * kLaneBlock<T>;
  constexpr int64_t kRounds = sum_order::kPlaneRounds * kSums;
  constexpr int kVecs = kSums / kLanes;
  const Conv2dShape& shape = task.shape;
  const int64_t plane = shape.p * shape.q;
  typename V::Vec total[kVecs];
  for (auto& v : total) v = V::zero();
  for (int64_t n = 0; n < shape.n; ++n) {
    const S* const in = (const S*)task.grad + (n * shape.k + channel) * plane;
    for (int64_t begin = 0; begin < plane; begin += kRounds) {
      const int64_t end = smaller(begin + kRounds, plane);
      typename V::Vec sum[kVecs];
      for (auto& v : sum) v = V::zero();
      int64_t i = begin;
      for (; i + kSums <= end; i += kSums) {
#pragma GCC unroll 16
        for (int v = 0; v < kVecs; ++v) sum[v] = V::add(sum[v], V::load(in + i + v * kLanes));
      }
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) {
        const int64_t at = i + v * kLanes;
        if (at < end) {
          sum[v] = V::add(sum[v],
                          at + kLanes <= end ? V::load(in + at) : V::load_first(in + at, end - at));
        }
        total[v] = V::add(total[v], sum[v]);
      }
    }
  }
  T lanes[kSums];
  for (int v = 0; v < kVecs; ++v) V::store(lanes + v * kLanes, total[v]);
  for (int64_t half = kSums / 2; half > 0; half /= 2) {
    for (int64_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  from_compute((S*)task.result + channel, lanes[0]);
}

// sums[i] += in[i]
template <class S>
void add_span(const S* in, int64_t count, Compute<S>* sums) {
  using V = Simd<Compute<S>>;
  int64_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) {
    V::store(sums + i, V::add(V::load(sums + i), V::load(in + i)));
  }
  if (i < count) V::store(sums + i, V::add(V::load(sums + i), V::load_first(in + i, count - i)));
}

template <class S>
void sum_pixels(const Task& task, const GradBiasPlan& plan, int64_t chunk, Compute<S>* partial,
                Compute<S>* sums) {
  const int64_t k = task.shape.k, begin = plan.pixel_chunk.begin(chunk) * k;
  const int64_t end = begin + plan.pixel_chunk.length(chunk, plan.pixels) * k,
                row = plan.row_pixels * k;
  fill_zero(sums, plan.row_size);
  for (int64_t at = begin; at < end; at += row) {
    add_span((const S*)task.grad + at, smaller(row, end - at), sums);
  }
  Compute<S>* const out = partial + chunk * k;
  for (int64_t i = 0; i < k; ++i) {
    out[i] = sums[i];
    for (int64_t j = 1; j < plan.row_pixels; ++j) out[i] += sums[j * k + i];
  }
}

inline void grad_bias(const Task& task, const Job& job) {
  const auto& plan = *(const GradBiasPlan*)job.details;
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    using T = Compute<S>;
    if (plan.planes) return sum_planes<S>(task, job.index);
    T* const partial = (T*)job.shared;
    if (job.stage == 0) return sum_pixels<S>(task, plan, job.index, partial, (T*)job.scratch);
    for (int64_t i = 0; i < task.shape.k; ++i) {
      T sum = 0;
      for (int64_t chunk = 0; chunk < plan.pixel_chunk.count; ++chunk)
        sum += partial[chunk * task.shape.k + i];
      from_compute((S*)task.result + i, sum);
    }
  });
}

}  // namespace
}  // namespace torchconv::cpu

// One job of the operator activate: copies its elements of task.input and has done with them what is done
// with results of a convolution.
#pragma once

#include "cpu/activate/plan.h"
#include "cpu/common/activate.h"

namespace torchconv::cpu {
namespace {

// No kernel stores denormal numbers, and not every level's min and max take those for zeros.
template <class S>
void copy_without_denormals(const S* in, int64_t count, Compute<S> minus_zero, S* out) {
  using V = Simd<Compute<S>>;
  const typename V::Vec nothing = V::broadcast(minus_zero);
  int64_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) {
    V::store(out + i, V::add(V::load(in + i), nothing));
  }
  if (i < count) {
    V::store_first(out + i, V::add(V::load_first(in + i, count - i), nothing), count - i);
  }
}

inline void activate_elements(const Task& task, const Job& job) {
  const auto& plan = *(const ActivatePlan*)job.details;
  const int64_t begin = job.index * plan.per_job;
  const int64_t count = smaller(plan.per_job, plan.elements - begin);
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    S* const out = (S*)task.result + begin;
    copy_without_denormals((const S*)task.input + begin, count, (Compute<S>)plan.minus_zero, out);
    activate(task, out, 1, count, count);
  });
}

}  // namespace
}  // namespace torchconv::cpu

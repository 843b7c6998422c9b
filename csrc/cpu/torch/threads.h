// The threads of torch, as run_plan.h wants them.
#pragma once

#include <torch/csrc/stable/ops.h>

#include "cpu/common/cost_model.h"
#include "cpu/runtime.h"

namespace torchconv::cpu {

struct TorchThreads {
  bool parallel;

  // For so much work in multiply-adds: whether it repays to wake other threads.
  static TorchThreads for_work(double work) {
    return {work > cost::kSerialWork && !pool_is_lost()};
  }
  int64_t count() const { return parallel ? torch::stable::get_num_threads() : 1; }
  template <class F>
  void run(int64_t count, const F& f) const {
    torch::stable::parallel_for(0, count, 1, [&](int64_t begin, int64_t) { f(begin); });
  }
};

}  // namespace torchconv::cpu

// Runs tasks of one shape that have nothing else in common, such as the weight gradients of single images.
// They are planned once. Threads take whole tasks, each on its own, which needs no waiting between stages and
// feeds all of them however small a task is; only what is left when every thread has had as many shares the
// work of a task. No torch.
#pragma once

#include <atomic>

#include "cpu/run_plan.h"
#include "cpu/select.h"
#include "cpu/simplify.h"

namespace torchconv::cpu {

// Where the operands of the first task lie, and how many bytes further those of the next.
struct EachTask {
  Task first;
  int64_t count;
  int64_t input_step, weight_step, bias_step, grad_step, result_step;

  Task operator[](int64_t index) const {
    Task task = first;
    task.input = moved(task.input, index * input_step);
    task.weight = moved(task.weight, index * weight_step);
    task.bias = moved(task.bias, index * bias_step);
    task.grad = moved(task.grad, index * grad_step);
    task.result = const_cast<void*>(moved(task.result, index * result_step));
    return task;
  }

 private:
  static const void* moved(const void* data, int64_t bytes) {
    return data ? static_cast<const char*>(data) + bytes : nullptr;
  }
};

struct OneThread {
  int64_t count() const { return 1; }
  template <class F>
  void run(int64_t, const F& f) const {
    f(0);
  }
};

// Of so many tasks, those that run on one thread each.
inline int64_t on_one_thread(int64_t tasks, int64_t threads) {
  constexpr int64_t kManyRounds = 8;  // the last of which may leave threads without work
  return tasks >= kManyRounds * threads ? tasks : tasks - tasks % threads;
}

// False if there is no memory. A Caller has
//   place(task)              may set the result, on the thread that computes it; false without memory
//   done(index, task)        sees each result, on the same thread
//   tell(algorithm, plan)    sees what was chosen
template <class Threads, class Caller>
bool run_each(const EachTask& each, Winograd winograd, const Threads& threads,
              const Caller& caller) {
  std::atomic<bool> enough{true};
  const auto run = [&](int64_t begin, int64_t end, const auto& outer, const auto& inner) {
    if (begin >= end) return;
    const Task first = each[begin];
    const SimplifiedTask simplified(first);
    Plan plan;
    const Algorithm& algorithm =
        select_algorithm(first.op, simplified().shape, winograd, inner.count(), plan);
    caller.tell(algorithm, plan);
    for_each_job(end - begin, outer, [&](int64_t from, int64_t to) {
      for (int64_t i = begin + from; i < begin + to && enough; ++i) {
        Task task = each[i];
        if (!caller.place(task) ||
            !run_plan(SimplifiedTask(task)(), plan, algorithm.run_at(plan.isa), inner)) {
          enough = false;
          return;
        }
        caller.done(i, task);
      }
    });
  };
  const int64_t alone = on_one_thread(each.count, threads.count());
  run(0, alone, threads, OneThread{});
  run(alone, each.count, OneThread{}, threads);
  return enough;
}

}  // namespace torchconv::cpu

// Runs the jobs of a plan: stage after stage, on threads that the caller brings, in scratch memory
// that stays with each of them. No torch.
//
// Threads has
//   count()         how many may be used
//   run(count, f)   calls f up to that often, on so many threads at once, and waits for all of them
#pragma once

#include <atomic>

#include "cpu/plan.h"
#include "cpu/runtime.h"

namespace torchconv::cpu {

// Runs f(begin, end) until every job was in one of the ranges; jobs are handed out as threads get
// free.
template <class Threads, class F>
void for_each_job(int64_t jobs, const Threads& threads, const F& f) {
  const int64_t count = smaller(jobs, threads.count());
  if (count <= 1) return f(int64_t{0}, jobs);
  std::atomic<int64_t> next{0};
  threads.run(count, [&] {
    for (int64_t job; (job = next.fetch_add(1, std::memory_order_relaxed)) < jobs;) f(job, job + 1);
  });
}

// False if there is no memory for it.
template <class Threads>
bool run_plan(const Task& task, const Plan& plan, RunJob run_job, const Threads& threads) {
  char* const shared = plan.shared_bytes ? shared_arena().reserve(plan.shared_bytes) : nullptr;
  std::atomic<bool> out_of_memory{plan.shared_bytes && !shared};
  for (int64_t repeat = 0; repeat < plan.repeats; ++repeat) {
    for (int stage = 0; stage < plan.stages && !out_of_memory; ++stage) {
      for_each_job(plan.jobs[stage], threads, [&](int64_t begin, int64_t end) {
        char* const scratch =
            plan.scratch_bytes ? scratch_arena().reserve(plan.scratch_bytes) : nullptr;
        if (plan.scratch_bytes && !scratch) {
          out_of_memory = true;
          return;
        }
        const FlushDenormals flush;
        for (int64_t job = begin; job < end; ++job)
          run_job(task, {plan.details, stage, job, repeat, shared, scratch});
        scratch_arena().trim();
      });
    }
  }
  shared_arena().trim();
  return !out_of_memory;
}

}  // namespace torchconv::cpu

// Runs the jobs of a plan: stage after stage, on threads that the caller brings, in scratch memory
// that stays with each of them. No torch.
//
// Threads has
//   count()         how many may be used
//   run(count, f)   calls f(thread) for each of so many threads, or for some of them, at once, and waits
#pragma once

#include <atomic>

#include "cpu/common/arithmetic.h"
#include "cpu/plan.h"
#include "cpu/runtime.h"

namespace torchconv::cpu {

// Runs f(begin, end) until every job was in one of the ranges. Each thread has its share of the jobs, in
// order, as the operators of ATen have, so that what one of them left in the cache of a core is found there;
// a thread that is done helps the others.
template <class Threads, class F>
void for_each_job(int64_t jobs, const Threads& threads, const F& f) {
  const int64_t count = smaller(jobs, threads.count());
  if (count <= 1) return f(int64_t{0}, jobs);
  constexpr int64_t kMostShares = 64;
  struct alignas(64) Next {
    std::atomic<int64_t> job;
  } next[kMostShares];
  const int64_t shares = smaller(count, kMostShares);
  for (int64_t i = 0; i < shares; ++i) next[i].job = share(i, shares, jobs).begin;
  threads.run(count, [&](int64_t thread) {
    for (int64_t i = 0; i < shares; ++i) {
      const int64_t mine = (thread * shares / count + i) % shares;
      const int64_t end = share(mine, shares, jobs).end;
      for (int64_t job; (job = next[mine].job.fetch_add(1, std::memory_order_relaxed)) < end;)
        f(job, job + 1);
    }
  });
}

// One stage; false if there is no memory for it.
template <class Threads>
bool run_stage(const Task& task, const Plan& plan, RunJob run_job, const Threads& threads,
               int stage, int64_t repeat, char* shared) {
  std::atomic<bool> out_of_memory{false};
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
    finish_streams();
    scratch_arena().trim();
  });
  return !out_of_memory;
}

// `packed`: what stage 0 would make, or null. False if there is no memory for it.
template <class Threads>
bool run_plan(const Task& task, const Plan& plan, RunJob run_job, const Threads& threads,
              const char* packed = nullptr) {
  char* const reserved =
      plan.shared_bytes && !packed ? shared_arena().reserve(plan.shared_bytes) : nullptr;
  bool enough = packed || reserved || !plan.shared_bytes;
  char* const shared = packed ? const_cast<char*>(packed) : reserved;  // which stage 1 only reads
  for (int64_t repeat = 0; repeat < plan.repeats; ++repeat) {
    for (int stage = packed ? 1 : 0; stage < plan.stages && enough; ++stage)
      enough = run_stage(task, plan, run_job, threads, stage, repeat, shared);
  }
  shared_arena().trim();
  return enough;
}

}  // namespace torchconv::cpu

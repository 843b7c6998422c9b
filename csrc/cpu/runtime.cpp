#include "cpu/runtime.h"

#if defined(__linux__)
#include <pthread.h>
#include <unistd.h>

// Of OpenMP 5.0, in the libgomp that libtorch brings; older ones lack it.
extern "C" int omp_pause_resource_all(int kind) __attribute__((weak));
#endif

namespace torchconv::cpu {
namespace {

bool lost = false;

#if defined(__linux__)
thread_local bool kept = false;

// Runs in the thread that forks. Ending its idle threads takes some milliseconds where there are any
// and next to nothing where there are none; the next parallel region starts new ones.
void before_fork() {
  constexpr int kHard = 2;
  kept = !omp_pause_resource_all || omp_pause_resource_all(kHard) != 0;
}

[[maybe_unused]] const int at_fork = pthread_atfork(before_fork, nullptr, [] { lost = kept; });
#endif

}  // namespace

Arena& scratch_arena() {
  static thread_local Arena arena;
  return arena;
}

Arena& shared_arena() {
  static thread_local Arena arena;
  return arena;
}

Arena& gradient_arena() {
  static thread_local Arena arena;
  return arena;
}

int64_t l2_cache_bytes() {
#if defined(_SC_LEVEL2_CACHE_SIZE)
  static const int64_t bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
#else
  constexpr int64_t bytes = 0;
#endif
  return bytes > 0 ? bytes : 1 << 20;
}

bool pool_is_lost() {
  return lost;
}

}  // namespace torchconv::cpu

#include "cpu/runtime.h"

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace torchconv::cpu {
namespace {

bool forked = false;

// Registered while the library loads, before any pool of its user can matter.
[[maybe_unused]] const int at_fork = [] {
#if !defined(_WIN32)
  return pthread_atfork(nullptr, nullptr, [] { forked = true; });
#else
  return 0;
#endif
}();

}  // namespace

Arena& scratch_arena() {
  static thread_local Arena arena;
  return arena;
}

Arena& shared_arena() {
  static thread_local Arena arena;
  return arena;
}

bool is_forked_child() {
  return forked;
}

}  // namespace torchconv::cpu

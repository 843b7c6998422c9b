// The threads of an emulated block. By default they are fibers, which take turns on one thread of
// the operating system and change at barriers only: fast, and a barrier that some thread skips is
// noticed at once. Under ThreadSanitizer they are real threads, so that it sees their races.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#ifdef __SANITIZE_THREAD__
#include <barrier>
#include <thread>
#else
#include <setjmp.h>
#include <ucontext.h>
#endif

namespace torchconv::cuda::host {

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "kernel on the host: %s\n", what);
  std::abort();
}

struct Copy {
  void* to;
  const void* from;  // null for zeros
  int bytes;
};

struct Block;

#ifdef __SANITIZE_THREAD__
class Barrier {
 public:
  explicit Barrier(int threads) : barrier_(threads) {}
  void wait() { barrier_.arrive_and_wait(); }

 private:
  std::barrier<> barrier_;
};
#else
void yield_until_changed(const int* generation);

class Barrier {
 public:
  explicit Barrier(int threads) : threads_(threads) {}
  void wait() {
    if (++arrived_ < threads_) return yield_until_changed(&generation_);
    arrived_ = 0;
    ++generation_;
  }

 private:
  int threads_, arrived_ = 0, generation_ = 0;
};
#endif

constexpr size_t kSlotBytes = 32;

// What the lanes of a warp show each other. Two slots, so that one barrier is enough: a lane fills
// a slot again only after all have come to the exchange in between, and are done with the slot.
struct Warp {
  Warp() : barrier(kWarp) {}
  Barrier barrier;
  alignas(16) unsigned char slot[2][kWarp * kSlotBytes];
};

struct Block {
  Index3 grid;
  Barrier barrier;
  std::vector<std::unique_ptr<Warp>> warps;
  std::mutex mutex;
  std::map<const void*, void*> shared;

  Block(int threads, Index3 grid_size) : grid(grid_size), barrier(threads) {
    for (int i = 0; i < threads / kWarp; ++i) warps.push_back(std::make_unique<Warp>());
  }
  ~Block() { forget_shared_memory(); }

  // All bits set is a NaN in every dtype.
  void* shared_memory(const void* kind, size_t bytes) {
    if (bytes > 48 * 1024) fail("more shared memory than a block has");
    const std::lock_guard<std::mutex> lock(mutex);
    void*& memory = shared[kind];
    if (!memory) {
      if (posix_memalign(&memory, 16, bytes)) fail("no memory");
      std::memset(memory, 0xff, bytes);
    }
    return memory;
  }
  void forget_shared_memory() {
    for (const auto& [kind, memory] : shared) std::free(memory);
    shared.clear();
  }
};

struct Thread {
  int index;
  Index3 block;
  Block* shared_block;
  int exchanges = 0;
  std::vector<Copy> copies;               // not yet a group
  std::vector<std::vector<Copy>> groups;  // on their way

  Warp& warp() { return *shared_block->warps[index / kWarp]; }
  void wait_for_block() { shared_block->barrier.wait(); }
  void wait_for_warp() { warp().barrier.wait(); }

  // What every lane passed here.
  template <class T>
  const T* exchange(const T& mine) {
    static_assert(sizeof(T) <= kSlotBytes);
    unsigned char* slot = warp().slot[exchanges++ % 2];
    std::memcpy(slot + index % kWarp * sizeof(T), &mine, sizeof(T));
    wait_for_warp();
    return reinterpret_cast<const T*>(slot);
  }
};

#ifdef __SANITIZE_THREAD__
inline thread_local Thread* this_thread = nullptr;
#else
inline Thread* this_thread = nullptr;
#endif

inline Thread& current_thread() {
  return *this_thread;
}
inline Block& running_block() {
  return *this_thread->shared_block;
}

// Last to first, for a test that the order of blocks and threads changes nothing.
inline bool backwards = false;

// One thread's way through all blocks of the grid.
inline void run_blocks(Thread& thread, const std::function<void()>& body) {
  Block& block = *thread.shared_block;
  for (int z = 0; z < block.grid.z; ++z) {
    for (int y = 0; y < block.grid.y; ++y) {
      for (int x = 0; x < block.grid.x; ++x) {
        const Index3& grid = block.grid;
        thread.block =
            backwards ? Index3{grid.x - 1 - x, grid.y - 1 - y, grid.z - 1 - z} : Index3{x, y, z};
        body();
        if (!thread.copies.empty()) fail("asynchronous copies that nothing waits for");
        block.barrier.wait();
        if (thread.index == 0) block.forget_shared_memory();
        block.barrier.wait();
      }
    }
  }
}

#ifdef __SANITIZE_THREAD__

inline void run_grid(int threads, Index3 grid, const std::function<void()>& body) {
  Block block(threads, grid);
  std::vector<std::thread> running;
  for (int i = 0; i < threads; ++i) {
    running.emplace_back([&block, &body, i] {
      Thread thread{i, {}, &block, 0, {}, {}};
      this_thread = &thread;
      run_blocks(thread, body);
    });
  }
  for (std::thread& thread : running) thread.join();
}

#else

struct Fiber {
  Thread thread;
  ucontext_t context;
  jmp_buf jump;
  bool started = false, done = false;
  const int* waits_for = nullptr;
  int seen = 0;

  bool can_run() const { return !done && (!waits_for || *waits_for != seen); }
};

inline Fiber* this_fiber = nullptr;
inline ucontext_t scheduler_context;
inline jmp_buf scheduler_jump;
inline const std::function<void()>* grid_body = nullptr;

// A jump costs a twentieth of a swapcontext, which asks the kernel for the signal mask, but
// AddressSanitizer follows only the latter.
#ifdef __SANITIZE_ADDRESS__
constexpr bool kJump = false;
#else
constexpr bool kJump = true;
#endif

inline void leave_fiber() {
  Fiber& fiber = *this_fiber;
  if (!kJump) {
    swapcontext(&fiber.context, &scheduler_context);
  } else if (!_setjmp(fiber.jump)) {
    _longjmp(scheduler_jump, 1);
  }
}

inline void yield_until_changed(const int* generation) {
  this_fiber->waits_for = generation;
  this_fiber->seen = *generation;
  leave_fiber();
}

inline void fiber_main() {
  run_blocks(this_fiber->thread, *grid_body);
  this_fiber->done = true;
  leave_fiber();
}

inline void enter_fiber(Fiber& fiber) {
  this_fiber = &fiber;
  this_thread = &fiber.thread;
  fiber.waits_for = nullptr;
  if (kJump && _setjmp(scheduler_jump)) return;
  if (!fiber.started || !kJump) {
    fiber.started = true;
    swapcontext(&scheduler_context, &fiber.context);
  } else {
    _longjmp(fiber.jump, 1);
  }
}

inline void run_grid(int threads, Index3 grid, const std::function<void()>& body) {
  constexpr size_t kStackBytes = 128 * 1024;
  static std::vector<std::unique_ptr<char[]>> stacks;
  while ((int)stacks.size() < threads) stacks.emplace_back(new char[kStackBytes]);

  Block block(threads, grid);
  grid_body = &body;
  std::vector<std::unique_ptr<Fiber>> fibers;
  for (int i = 0; i < threads; ++i) {
    fibers.push_back(std::make_unique<Fiber>());
    Fiber& fiber = *fibers.back();
    fiber.thread.index = backwards ? threads - 1 - i : i;
    fiber.thread.shared_block = &block;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = stacks[i].get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, fiber_main, 0);
  }
  for (int left = threads; left;) {
    bool moved = false;
    for (const auto& fiber : fibers) {
      if (!fiber->can_run()) continue;
      moved = true;
      enter_fiber(*fiber);
      left -= fiber->done;
    }
    if (!moved) fail("threads wait at a barrier that others skip");
  }
}

#endif

}  // namespace torchconv::cuda::host

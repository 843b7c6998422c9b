// What a call needs from the machine: aligned scratch memory that stays with its thread, denormals
// flushed inside our loops only, and threads that survive a fork.
#pragma once

#include <cstdint>
#include <cstdlib>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "cpu/common/cost_model.h"

namespace torchconv::cpu {

// What becomes of denormals while it lives; leaves the caller's mode as it was.
class DenormalMode {
 public:
#if defined(__SSE2__)
  explicit DenormalMode(bool flushes) : saved_(_mm_getcsr()) {
    constexpr unsigned kBoth = kFlushToZero | kDenormalsAreZero;
    _mm_setcsr(flushes ? saved_ | kBoth : saved_ & ~kBoth);
  }
  ~DenormalMode() { _mm_setcsr(saved_); }

 private:
  static constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZero = 0x0040;
  unsigned saved_;
#elif defined(__aarch64__)
  explicit DenormalMode(bool flushes) {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" ::"r"(flushes ? saved_ | kFlushToZero : saved_ & ~kFlushToZero));
  }
  ~DenormalMode() { asm volatile("msr fpcr, %0" ::"r"(saved_)); }

 private:
  static constexpr uint64_t kFlushToZero = 1u << 24;
  uint64_t saved_;
#else
  explicit DenormalMode(bool) {}
  ~DenormalMode() {}
#endif
};

// Without it one denormal weight makes a layer a hundred times slower.
class FlushDenormals : public DenormalMode {
 public:
  FlushDenormals() : DenormalMode(true) {}
};

// What this thread stored past the caches comes before whatever it tells others next.
inline void finish_streams() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

constexpr int64_t kHugePage = 2 << 20;

// Asks for huge pages where the whole of one lies in the memory: it is not there until it is touched, and
// 4 KB at a time that takes longer than many a layer. Kernels also walk through dozens of streams at once,
// more than the table of addresses of small pages holds. Nothing happens if the system has none.
inline void prefer_huge_pages(void* data, int64_t bytes) {
#if defined(__linux__)
  const int64_t begin = (reinterpret_cast<int64_t>(data) + kHugePage - 1) / kHugePage * kHugePage;
  const int64_t end = (reinterpret_cast<int64_t>(data) + bytes) / kHugePage * kHugePage;
  if (begin < end) {
    madvise(reinterpret_cast<void*>(begin), static_cast<size_t>(end - begin), MADV_HUGEPAGE);
  }
#else
  static_cast<void>(data), static_cast<void>(bytes);
#endif
}

// A result that glibc maps anew for every call.
inline void prefer_huge_result(void* result, int64_t bytes) {
  if (bytes >= cost::kMappedAnew) prefer_huge_pages(result, bytes);
}

// A buffer that grows to what its thread asked for and is kept for the next call, up to kKept
// bytes; what is larger lives for one call. Keeping it spares the page faults of a fresh buffer.
class Arena {
 public:
  static constexpr int64_t kKept = 16 << 20;

  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() { std::free(data_); }

  // Null if there is no memory; aligned to 64 bytes.
  char* reserve(int64_t bytes) {
    if (bytes <= size_) return data_;
    std::free(data_);
    const int64_t page = bytes < kHugePage ? 4096 : kHugePage;
    size_ = (bytes + page - 1) / page * page;
    data_ = static_cast<char*>(
        std::aligned_alloc(static_cast<size_t>(page), static_cast<size_t>(size_)));
    if (!data_) size_ = 0;
    if (data_) prefer_huge_pages(data_, size_);
    return data_;
  }

  void trim() {
    if (size_ <= kKept) return;
    std::free(data_);
    data_ = nullptr;
    size_ = 0;
  }

 private:
  char* data_ = nullptr;
  int64_t size_ = 0;
};

// The thread's own scratch, and the buffer of the call that this thread started.
Arena& scratch_arena();
Arena& shared_arena();
Arena& gradient_arena();  // of results that are not kept

// Of one core; 1 MB where the system does not say.
int64_t l2_cache_bytes();

// OpenMP keeps a pool of threads for each thread that starts parallel regions. In a child of fork()
// those threads do not exist, and its first parallel region, ours or ATen's, waits for them for ever.
// So the pool of a thread that forks is ended just before: parent and child make a new one when they
// need it. True in a child where that was not possible, which then computes in its own thread.
bool pool_is_lost();

}  // namespace torchconv::cpu

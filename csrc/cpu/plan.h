// What an algorithm is: a name, a reason to refuse, a plan, and code that runs one job of the plan.
// Nothing here knows torch or SIMD.
//
// A plan depends on the operator and the per-image shape, dtype and layout, never on threads or the
// ISA level; the batch size only repeats jobs. That is how the same sample gets the same bits
// everywhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "conv2d.h"

namespace torchconv::cpu {

enum class Isa { kPortable, kAvx2, kAvx512 };
constexpr int kIsaLevels = 3;

// One call of one operator. Tensors are dense in shape.layout; the weight has any strides.
struct Task {
  Op op;
  Conv2dShape shape;
  const void* input;   // [n, c, h, w]; the result of kGradInput
  const void* weight;  // [k, c / groups, r, s]; the result of kGradWeight
  const void* bias;    // [k] or null; kForward only
  const void* grad;    // [n, k, p, q]; kGradInput and kGradWeight
  void* result;
  int64_t weight_stride[4];
};

// Stages run one after the other, the jobs of a stage in any order on any thread.
constexpr int kMaxStages = 3;

struct Plan {
  // What the algorithm worked out, for its jobs: made once for a call, read by every job.
  static constexpr size_t kDetailsBytes = 1024;
  alignas(8) unsigned char details[kDetailsBytes];
  template <class Details>
  void keep(const Details& made) {
    static_assert(std::is_trivially_copyable_v<Details> && sizeof(Details) <= kDetailsBytes);
    std::memcpy(details, &made, sizeof(Details));
  }

  int stages = 1;
  int64_t jobs[kMaxStages] = {0, 0, 0};
  int64_t shared_bytes = 0;   // one buffer for the call
  int64_t scratch_bytes = 0;  // one buffer per thread
  int64_t repeats = 1;        // runs all stages this often
};

// Where a job runs.
struct Job {
  const void* details;  // Plan::details
  int stage;
  int64_t index;
  int64_t repeat;
  char* shared;
  char* scratch;
};

using RunJob = void (*)(const Task&, const Job&);

struct Algorithm {
  const char* name;
  const char* (*refuse)(Op, const Conv2dShape&);  // null where it applies, else the reason
  Plan (*plan)(Op, const Conv2dShape&);
  RunJob run[kIsaLevels];
};

// A kernel as large as its image has one output pixel: every weight multiplies its own input
// element, as in a pointwise layer of c * h * w channels.
inline bool covers_image(const Conv2dShape& d) {
  return d.r == d.h && d.s == d.w && d.p == 1 && d.q == 1 && !d.pad_top && !d.pad_bottom &&
         !d.pad_left && !d.pad_right;
}

inline int64_t round_up(int64_t a, int64_t b) {
  return ceil_div(a, b) * b;
}
// The largest one up to `most`, at least 1: jobs that threads share evenly.
inline int64_t power_of_two(int64_t most) {
  int64_t power = 1;
  while (2 * power <= most) power *= 2;
  return power;
}

}  // namespace torchconv::cpu

// What an algorithm is: a name, a plan or a reason to refuse, and code that runs one job of the plan.
// Nothing here knows torch or SIMD.
//
// How a plan cuts a layer may depend on anything. How it forms a sum may not: the order of a sum is
// fixed by the operator and the per-image shape, dtype and layout (common/sum_order.h), never by the
// batch, the threads or the ISA level. That is how a sample gets the same bits everywhere. An algorithm
// with other sums than the direct ones therefore applies or not by these alone, too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <type_traits>

#include "cpu/shape.h"

namespace torchconv::cpu {

enum class Isa { kPortable, kAvx2, kAvx512, kAvx512Bf16 };
constexpr int kIsaLevels = 4;

// How an algorithm forms its sums: product by product, all such algorithms with the same bits, or from
// fewer products with Winograd's F(2x2, 3x3) or with F(4x4, 3x3) and F(2x2, 5x5), which have the same points and
// errors; all of these round otherwise.
enum class Sums { kDirect, kF2, kF4 };

// Which of Winograd's a call allows: all, F(2x2, 3x3) alone, or none.
enum class Winograd { kAuto, kF2, kOff };

// What a result becomes before it is stored; numbered as the names of torchconv/_activations/names.py.
enum class Activation { kNone, kRelu, kRelu6, kSilu, kHardswish, kGelu, kSigmoid, kLeakyRelu };

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
  // Of kForward alone: results become activation(result + residual).
  const void* residual;  // as the result, or null
  Activation activation;
  double slope;        // of kLeakyRelu
  const char* packed;  // what kept_weights.h made of the weight, or null

  bool activates() const { return residual || activation != Activation::kNone; }
  bool replaces_residual() const { return residual && residual == result; }
};

// Stages run one after the other, the jobs of a stage in any order on any thread.
constexpr int kMaxStages = 2;

struct Plan {
  // What the algorithm worked out, for its jobs: made once for a call, read by every job.
  static constexpr size_t kDetailsBytes = 1024;
  alignas(8) unsigned char details[kDetailsBytes];
  template <class Details>
  void keep(const Details& made) {
    static_assert(std::is_trivially_copyable_v<Details> && sizeof(Details) <= kDetailsBytes);
    std::memcpy(details, &made, sizeof(Details));
  }

  void clear(Isa level, int64_t most_threads) {
    isa = level, threads = most_threads;
    stages = 1, jobs[0] = jobs[1] = 0;
    shared_bytes = scratch_bytes = 0, repeats = 1;
    packs_weights = may_replace_residual = false;
  }

  // Says that stage 0 packs the weights and does nothing else, and on what of the plan its result depends.
  void pack_weights_first(std::initializer_list<int64_t> cut) {
    packs_weights = true;
    int64_t* out = packing;
    for (const int64_t value : cut) *out++ = value;
    while (out < packing + kPackingCuts) *out++ = 0;
  }

  Isa isa = Isa::kPortable;  // whose kernels run the jobs
  int64_t threads = 1;       // that may run them
  int stages = 1;
  int64_t jobs[kMaxStages] = {0, 0};
  int64_t shared_bytes = 0;   // one buffer for the call
  int64_t scratch_bytes = 0;  // one buffer per thread
  int64_t repeats = 1;        // runs all stages this often

  bool may_replace_residual = false;  // its memory may be that of the result
  bool weights_are_kept = false;      // the caller keeps what stage 0 makes of them for many calls
  bool packs_weights = false;
  static constexpr int kPackingCuts = 8;
  int64_t packing[kPackingCuts];  // where it does
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
  // Fills in a cleared plan and returns null, or returns the reason why it does not apply.
  const char* (*make_plan)(Op, const Conv2dShape&, Plan&);
  RunJob run[kIsaLevels];  // null: as one level lower
  Sums sums = Sums::kDirect;
  // Returns the reason why one further down the list is preferred although this one applies, or null.
  // Not asked where the algorithm is forced.
  const char* (*unsuited)(Op, const Conv2dShape&) = nullptr;
  // Computes input gradients, also where padding repeats elements of the input.
  bool folds_padding = false;

  RunJob run_at(Isa isa) const {
    const bool lower = isa == Isa::kAvx512Bf16 && !run[(int)isa];
    return run[(int)(lower ? Isa::kAvx512 : isa)];
  }
};

// A kernel as large as its image has one output pixel: every weight multiplies its own input
// element, as in a pointwise layer of c * h * w channels.
inline bool covers_image(const Conv2dShape& shape) {
  return shape.r == shape.h && shape.s == shape.w && shape.p == 1 && shape.q == 1 &&
         !shape.pad_top && !shape.pad_bottom && !shape.pad_left && !shape.pad_right;
}

}  // namespace torchconv::cpu

// Of the list in algorithms.h the first algorithm that does not refuse runs, the readable reference takes the
// rest.
#include "cpu/select.h"

#include <atomic>
#include <cstdlib>
#include <iterator>

#include "choice.h"
#include "cpu/algorithms.h"
#include "cpu/common/cost_model.h"

namespace torchconv::cpu {
namespace {

// Never destroyed: a thread may still compute when the process ends.
Choice<Algorithm>& choice() {
  static Choice<Algorithm>& only =
      *new Choice<Algorithm>({std::begin(kAlgorithms), std::end(kAlgorithms)});
  return only;
}

std::atomic<int> forced_isa{-1};

// Elements of an image with its padding. A plan's sizes are less than 2^14 times as large, in bytes.
constexpr double kMostPadded = 0x1p46;

bool reaches_too_far(const Conv2dShape& shape) {
  const double height = (double)shape.h + (double)shape.pad_top + (double)shape.pad_bottom;
  const double width = (double)shape.w + (double)shape.pad_left + (double)shape.pad_right;
  return height * width * (double)larger(shape.c, shape.k) > kMostPadded;
}

// Whether a gradient has padding to be added to it.
bool repeats_input(Op op, const Conv2dShape& shape) {
  return op == Op::kGradInput && shape.padding_mode != PaddingMode::kZeros;
}

// Why a call does not allow such sums, or null.
const char* not_allowed(Sums sums, Winograd winograd) {
  if (sums == Sums::kDirect || winograd == Winograd::kAuto) return nullptr;
  if (winograd == Winograd::kOff) return "winograd is off";
  return sums == Sums::kF2 ? nullptr : "winograd is f2";
}

// Why an algorithm of the list is not the one to run, or null. The mode comes last: it is the reason only
// where it makes the difference.
const char* refusal(const Algorithm& algorithm, Op op, const Conv2dShape& shape, Isa isa,
                    int64_t threads, Winograd winograd, Plan& plan) {
  if (algorithm.unsuited && &algorithm != choice().forced()) {
    if (const char* reason = algorithm.unsuited(op, shape)) return reason;
  }
  const char* const reason = try_plan(algorithm, op, shape, isa, threads, plan);
  return reason ? reason : not_allowed(algorithm.sums, winograd);
}

bool cpu_has(Isa isa) {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  if (isa == Isa::kAvx2) return avx2;
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq");
  if (isa == Isa::kAvx512) return avx512;
  if (isa == Isa::kAvx512Bf16) {
    const auto check = kAvx512PairKernels.pairs_are_two_steps;
    if (!avx512 || !check || !__builtin_cpu_supports("avx512bf16")) return false;
    static const bool agrees = check();
    return agrees;
  }
#endif
  return isa == Isa::kPortable;
}

// -1 if the name is not a level that this CPU has.
int find_isa(const std::string& name) {
  for (const Isa isa : {Isa::kAvx512Bf16, Isa::kAvx512, Isa::kAvx2, Isa::kPortable}) {
    if (name == isa_name(isa) && cpu_has(isa)) return (int)isa;
  }
  return -1;
}

// Whether the instruction for pairs of bfloat16 is faster than two for one product each. AMD's (Zen 4 and
// later) runs at their rate, so half as many do; on a Xeon (family 6 model 207) at a quarter of it.
bool pairs_are_fast() {
#if defined(__x86_64__)
  return __builtin_cpu_is("amd") && cpu_has(Isa::kAvx512Bf16);
#else
  return false;
#endif
}

Isa default_isa() {
  if (const char* wanted = std::getenv("TORCHCONV_ISA"); wanted && *wanted) {
    const int found = find_isa(wanted);
    if (found >= 0) return (Isa)found;  // else ignored, as torchconv/_operators/load.py tells
  }
  if (pairs_are_fast()) return Isa::kAvx512Bf16;
  if (cpu_has(Isa::kAvx512)) return Isa::kAvx512;
  return cpu_has(Isa::kAvx2) ? Isa::kAvx2 : Isa::kPortable;
}

}  // namespace

const char* try_plan(const Algorithm& algorithm, Op op, const Conv2dShape& shape, Isa isa,
                     int64_t threads, Plan& plan) {
  if (&algorithm != &kReference && reaches_too_far(shape)) return "padding reaches too far";
  if (!algorithm.folds_padding && repeats_input(op, shape))
    return "padding repeats elements of the input";
  plan.clear(isa, threads);
  if (const char* reason = algorithm.make_plan(op, shape, plan)) return reason;
  if (plan.scratch_bytes > cost::kScratchLimit) return "one row of a job exceeds the scratch limit";
  return nullptr;
}

const Algorithm& select_algorithm(Op op, const Conv2dShape& shape, Winograd winograd,
                                  int64_t threads, Plan& plan) {
  const Isa isa = isa_in_use();
  return *choice().select(  // the reference, which takes every shape, ends the list
      [&](const Algorithm& algorithm) {
        return refusal(algorithm, op, shape, isa, threads, winograd, plan);
      });
}

const Algorithm* select_folding(const Conv2dShape& shape, Winograd winograd, int64_t threads,
                                Plan& plan) {
  const Algorithm* const forced = choice().forced();
  if (forced && !forced->folds_padding) return nullptr;
  const Isa isa = isa_in_use();
  return choice().select([&](const Algorithm& algorithm) {
    return algorithm.folds_padding
               ? refusal(algorithm, Op::kGradInput, shape, isa, threads, winograd, plan)
               : "folds no padding";
  });
}

std::string explain_choice(Op op, const Conv2dShape& shape, Winograd winograd) {
  Plan plan;
  const Isa isa = isa_in_use();
  return choice().explain(
      [&](const Algorithm& algorithm) {
        return refusal(algorithm, op, shape, isa, 1, winograd, plan);
      },
      [](const Algorithm& algorithm) { return algorithm.name; });
}

bool force_algorithm(const std::string& name) {
  return choice().force(name);
}

const Algorithm* forced_algorithm() {
  return choice().forced();
}

Isa isa_in_use() {
  const int forced = forced_isa.load(std::memory_order_relaxed);
  if (forced >= 0) return (Isa)forced;
  static const Isa isa = default_isa();
  return isa;
}

bool isa_is_forced() {
  return forced_isa.load(std::memory_order_relaxed) >= 0;
}

const char* isa_name(Isa isa) {
  constexpr const char* kNames[kIsaLevels] = {"portable", "avx2", "avx512", "avx512_bf16"};
  return kNames[(int)isa];
}

bool force_isa(const std::string& name) {
  const int found = name.empty() ? -1 : find_isa(name);
  if (found < 0 && !name.empty()) return false;
  forced_isa.store(found, std::memory_order_relaxed);
  return true;
}

}  // namespace torchconv::cpu

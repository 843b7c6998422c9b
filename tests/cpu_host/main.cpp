// Runs the CPU algorithms without torch for tests/kernels/memory/test_sanitizers.py; options of a request are
// {level, threads, exact, callers, padding mode}.
//
// `exact`: scratch memory, too, lies in blocks of exactly the size that the plan asks for, a new
// one full of NaN for every job, in place of the arenas, which are larger and remember.
// `callers`: as many threads make the same call at once and must get the same bits; 0 only asks whether
// the algorithm applies.
// The algorithm "each" is run_each.h, with the images of a batch as its tasks; for integers see integers.h.
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "cpu/algorithms.h"
#include "cpu/run_each.h"
#include "cpu/run_plan.h"
#include "cpu/select.h"
#include "cpu/simplify.h"
#include "cpu_host/integers.h"
#include "kernel_host/host.h"

namespace {

using namespace torchconv;
using namespace torchconv::cpu;

// With the one that has no operator of its own.
const std::vector<const Algorithm*> kEveryAlgorithm = [] {
  std::vector<const Algorithm*> all(std::begin(kAlgorithms), std::end(kAlgorithms));
  all.push_back(&kGradBias);
  return all;
}();
constexpr Isa kIsas[] = {Isa::kPortable, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16};

struct HostThreads {
  int64_t most;
  int64_t count() const { return most; }
  template <class F>
  void run(int64_t count, const F& f) const {
    std::vector<std::thread> others;
    for (int64_t i = 1; i < count; ++i) others.emplace_back([&f, i] { f(i); });
    f(0);
    for (std::thread& other : others) other.join();
  }
};

struct Exact {
  RunJob run;
  int64_t scratch_bytes;
  char* shared;
};
Exact exact;

void run_exact(const Task& task, const Job& job) {
  const host::Buffer scratch(exact.scratch_bytes, 0, 64);
  exact.run(task,
            {job.details, job.stage, job.index, job.repeat, exact.shared, (char*)scratch.data});
}

bool compute(const Task& task, RunJob run_job, Plan plan, const host::Request& request) {
  const HostThreads threads{request.options[1]};
  if (!request.options[2]) return run_plan(task, plan, run_job, threads);
  const host::Buffer shared(plan.shared_bytes, 0, 64);
  exact = {run_job, plan.scratch_bytes, (char*)shared.data};
  plan.shared_bytes = plan.scratch_bytes = 0;
  return run_plan(task, plan, run_exact, threads);
}

struct EachCaller {
  bool place(Task&) const { return true; }
  void done(int64_t, const Task&) const {}
  void tell(const Algorithm&, const Plan&) const {}
};

// Every image of the batch by itself; all of them have one weight and one bias.
int64_t run_images(const Task& given, const host::Request& request) {
  EachTask each{};
  each.first = given;
  each.first.shape.n = 1;
  each.count = given.shape.n;
  if (!force_isa(isa_name((Isa)request.options[0]))) return 0;
  each.input_step = request.bytes[0] / each.count;
  each.grad_step = request.bytes[3] / each.count;
  each.result_step = request.bytes[4] / each.count;
  const HostThreads threads{request.options[1]};
  return run_each(each, Winograd::kOff, threads, EachCaller{}) ? 1 : 2;
}

// 1: computed, or would be; 0: the algorithm does not apply or is not compiled for the level, 2: no memory,
// 3: callers got different bits.
int64_t run(const host::Request& request, void* const (&data)[5]) {
  Task given{};
  given.op = (Op)request.op;
  given.shape = cpu::Conv2dShape(host::shape_of(request), (PaddingMode)request.options[4]);
  given.input = data[0], given.weight = data[1], given.bias = data[2], given.grad = data[3];
  std::memcpy(given.weight_stride, request.weight_stride, sizeof given.weight_stride);
  given.result = data[4];
  if (host::of_integers(request)) {
    return host::run_integers(request, [&](const Plan& plan, RunJob run_job) {
      return compute(given, run_job, plan, request);
    });
  }
  if (!std::strcmp(request.algorithm, "each")) return run_images(given, request);
  for (const Algorithm* algorithm : kEveryAlgorithm) {
    if (std::strcmp(algorithm->name, request.algorithm)) continue;
    const SimplifiedTask simplified(given);
    const Task task = algorithm == &kGradBias ? given : simplified();
    Plan plan;
    if (algorithm == &kGradBias) {
      plan.clear((Isa)request.options[0], request.options[1]);
      kGradBias.make_plan(task.op, task.shape, plan);
    } else if (try_plan(*algorithm, task.op, task.shape, (Isa)request.options[0],
                        request.options[1], plan)) {
      return 0;
    }
    const RunJob run_job = algorithm->run_at(plan.isa);
    if (!run_job) return 0;
    if (request.options[3] == 0) return 1;
    if (request.options[3] < 2) return compute(task, run_job, plan, request) ? 1 : 2;
    const int64_t bytes = request.bytes[4];
    const host::Buffer result(bytes);
    bool computed = false, computed_too = false;
    std::thread other([&] {
      Task own = task;
      own.result = result.data;
      computed_too = compute(own, run_job, plan, request);
    });
    computed = compute(task, run_job, plan, request);
    other.join();
    if (!computed || !computed_too) return 2;
    return std::memcmp(result.data, data[4], bytes) ? 3 : 1;
  }
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  const std::string wanted = count == 2 ? arguments[1] : "";
  if (wanted == "--list") {
    for (const Algorithm* algorithm : kEveryAlgorithm) std::puts(algorithm->name);
    return 0;
  }
  if (wanted == "--levels") {  // that the machine has and that some kernels are compiled for
    for (const Isa isa : kIsas) {
      const bool compiled = kernels_of(isa).pointwise || kDepthwise.run[(int)isa];
      if (compiled && force_isa(isa_name(isa))) std::puts(isa_name(isa));
    }
    return 0;
  }
  return host::serve(
      [](const host::Request& request, void* const(&data)[5]) { return run(request, data); });
}

// The torch-aware file of the CPU: checks and allocates with tensor_utils.h and runs the chosen
// algorithm's plan on torch's threads. User-facing validation is in torchconv/functional.py.
#include <torch/csrc/stable/library.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <tuple>

#include "cpu/algorithms.h"
#include "cpu/runtime.h"
#include "cpu/select.h"
#include "cpu/simplify.h"
#include "tensor_utils.h"

namespace torchconv::cpu {
namespace {

// Below this many multiply-adds a call stays on its own thread: waking another costs more.
constexpr double kSerialWork = 250e3;
// What an element costs that is only added up, in multiply-adds.
constexpr double kSumWork = 4;

// Runs f(job) for every job, on all threads or on this one; jobs are handed out as threads get
// free.
template <class F>
void for_each_job(int64_t jobs, bool parallel, const F& f) {
  const int64_t threads = parallel ? smaller(jobs, torch::stable::get_num_threads()) : 1;
  if (threads <= 1) return f(int64_t{0}, jobs);
  std::atomic<int64_t> next{0};
  torch::stable::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    for (int64_t job; (job = next.fetch_add(1, std::memory_order_relaxed)) < jobs;) f(job, job + 1);
  });
}

// TORCHCONV_VERBOSE=1: a line on stderr for every call.
void print_call(const Task& task, const Algorithm& algorithm) {
  static const bool verbose = [] {
    const char* value = std::getenv("TORCHCONV_VERBOSE");
    return value && std::string(value) == "1";
  }();
  if (!verbose) return;
  const char* const op = task.op == Op::kForward     ? "forward"
                         : task.op == Op::kGradInput ? "grad_input"
                                                     : "grad_weight";
  const Conv2dShape& d = task.shape;
  std::fprintf(
      stderr, "torchconv: %s input %lldx%lldx%lldx%lld kernel %lldx%lldx%lld groups %lld: %s, %s\n",
      op, (long long)d.n, (long long)d.c, (long long)d.h, (long long)d.w, (long long)d.k,
      (long long)d.r, (long long)d.s, (long long)d.groups, algorithm.name, isa_name(isa_in_use()));
}

// Work in multiply-adds, to judge if it repays to wake other threads.
void run(const Task& task, const Algorithm& algorithm, double work) {
  print_call(task, algorithm);
  const RunJob run_job = algorithm.run[static_cast<int>(isa_in_use())];
  const Plan plan = algorithm.plan(task.op, task.shape);
  const bool parallel = work > kSerialWork && !is_forked_child();

  char* const shared = plan.shared_bytes ? shared_arena().reserve(plan.shared_bytes) : nullptr;
  std::atomic<bool> out_of_memory{plan.shared_bytes && !shared};
  for (int64_t repeat = 0; repeat < plan.repeats && !out_of_memory; ++repeat) {
    for (int stage = 0; stage < plan.stages; ++stage) {
      for_each_job(plan.jobs[stage], parallel, [&](int64_t begin, int64_t end) {
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
  STD_TORCH_CHECK(!out_of_memory, "torchconv: no memory for ", plan.shared_bytes, " + threads * ",
                  plan.scratch_bytes, " bytes of scratch");
}

void run(const Task& given) {
  const Task task = simplified(given);
  const Conv2dShape& d = task.shape;
  const double work = static_cast<double>(d.n) * d.k * d.p * d.q * d.c_per_group() * d.r * d.s;
  run(task, select_algorithm(task.op, d), work);
}

void set_weight_strides(Task& task, const Tensor& weight) {
  for (int i = 0; i < 4; ++i) task.weight_stride[i] = weight.stride(i);
}

Tensor conv2d(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
              const Sizes& geometry) {
  check_operands(input, weight);
  Task task{};
  task.op = Op::kForward;
  task.shape = make_shape(input.sizes(), weight.sizes(), geometry, to_dtype(input.scalar_type()));
  const Conv2dShape& d = task.shape;
  const Tensor dense_input = make_dense(input, d.layout);
  const Tensor result = empty_result(input, {d.n, d.k, d.p, d.q}, d.layout);
  if (result.numel() == 0) return result;
  std::optional<Tensor> dense_bias;
  if (bias) {
    check_operands(input, *bias);
    STD_TORCH_CHECK(bias->dim() == 1 && bias->size(0) == d.k, "torchconv: bias must have size (",
                    d.k, ")");
    dense_bias = bias->is_contiguous() ? *bias : torch::stable::contiguous(*bias);
    task.bias = dense_bias->const_data_ptr();
  }
  task.input = dense_input.const_data_ptr();
  task.weight = weight.const_data_ptr();
  set_weight_strides(task, weight);
  task.result = result.mutable_data_ptr();
  run(task);
  return result;
}

Tensor conv2d_grad_input(const Tensor& grad, const Tensor& weight, const Sizes& input_size,
                         const Sizes& geometry) {
  check_operands(grad, weight);
  Task task{};
  task.op = Op::kGradInput;
  task.shape = make_shape(input_size, weight.sizes(), geometry, to_dtype(grad.scalar_type()));
  const Conv2dShape& d = task.shape;
  check_size(grad, d.n, d.k, d.p, d.q, "grad");
  const Tensor dense_grad = make_dense(grad, d.layout);
  Tensor result = empty_result(grad, {d.n, d.c, d.h, d.w}, d.layout);
  if (result.numel() == 0) return result;
  if (grad.numel() == 0) return torch::stable::zero_(result);
  task.grad = dense_grad.const_data_ptr();
  task.weight = weight.const_data_ptr();
  set_weight_strides(task, weight);
  task.result = result.mutable_data_ptr();
  run(task);
  return result;
}

Tensor conv2d_grad_weight(const Tensor& grad, const Tensor& input, const Sizes& weight_size,
                          const Sizes& geometry) {
  check_operands(grad, input);
  Task task{};
  task.op = Op::kGradWeight;
  task.shape = make_shape(input.sizes(), weight_size, geometry, to_dtype(grad.scalar_type()));
  const Conv2dShape& d = task.shape;
  check_size(grad, d.n, d.k, d.p, d.q, "grad");
  const Tensor dense_grad = make_dense(grad, d.layout);
  const Tensor dense_input = make_dense(input, d.layout);
  Tensor result = empty_result(grad, {d.k, d.c_per_group(), d.r, d.s}, d.layout);
  if (result.numel() == 0) return result;
  if (grad.numel() == 0) return torch::stable::zero_(result);
  task.grad = dense_grad.const_data_ptr();
  task.input = dense_input.const_data_ptr();
  set_weight_strides(task, result);
  task.result = result.mutable_data_ptr();
  run(task);
  return result;
}

Tensor grad_bias(const Tensor& grad, const Conv2dShape& d) {
  Tensor result = empty_strided(grad, {d.k}, {1});
  if (result.numel() == 0) return result;
  if (grad.numel() == 0) return torch::stable::zero_(result);
  Task task{};
  task.op = Op::kGradWeight;
  task.shape = d;
  task.grad = grad.const_data_ptr();
  task.result = result.mutable_data_ptr();
  run(task, kGradBias, kSumWork * static_cast<double>(grad.numel()));
  return result;
}

// What the backward pass of a layer asks for, in one call. Of size (0) if not wanted: the gradient
// of the input without the weight, that of the bias.
std::tuple<Tensor, Tensor, Tensor> conv2d_backward(const Tensor& grad, const Tensor& input,
                                                   const std::optional<Tensor>& weight,
                                                   const Sizes& weight_size, const Sizes& geometry,
                                                   bool bias_needed) {
  check_operands(grad, input);
  const Sizes input_size = input.sizes().vec();
  const Conv2dShape d = make_shape(input_size, weight_size, geometry, to_dtype(grad.scalar_type()));
  check_size(grad, d.n, d.k, d.p, d.q, "grad");
  const Tensor dense_grad = make_dense(grad, d.layout);
  const auto nothing = [&] { return empty_strided(grad, {0}, {1}); };
  return {weight ? conv2d_grad_input(dense_grad, *weight, input_size, geometry) : nothing(),
          conv2d_grad_weight(dense_grad, input, weight_size, geometry),
          bias_needed ? grad_bias(dense_grad, d) : nothing()};
}

std::string explain(const std::string& op, const Sizes& input_size, const Sizes& weight_size,
                    const Sizes& geometry, const std::string& dtype) {
  STD_TORCH_CHECK(op == "forward" || op == "grad_input" || op == "grad_weight",
                  "torchconv: op must be forward, grad_input or grad_weight, got ", op);
  const Op which = op == "forward"      ? Op::kForward
                   : op == "grad_input" ? Op::kGradInput
                                        : Op::kGradWeight;
  const Conv2dShape shape = make_shape(input_size, weight_size, geometry, to_dtype(dtype));
  return explain_choice(which, simplified(shape));
}

std::string isa() {
  return isa_name(isa_in_use());
}

void force_isa_op(std::string level) {
  STD_TORCH_CHECK(force_isa(level), "torchconv: no such ISA level on this CPU: ", level);
}

void force_algorithm_op(std::string name) {
  STD_TORCH_CHECK(force_algorithm(name), "torchconv: no such algorithm: ", name);
}

// The best of several short bursts, in GFLOP/s: the yardstick printed beside every benchmark.
double fma_peak(int64_t threads) {
  double (*const fma_burst)(int64_t) = kernels_of(isa_in_use()).fma_burst;
  double best = 0;
  for (int burst = 0; burst < 20; ++burst) {
    std::atomic<double> flops{0};
    const auto start = std::chrono::steady_clock::now();
    torch::stable::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
      const double done = fma_burst((end - begin) * 200000);
      for (double seen = flops; !flops.compare_exchange_weak(seen, seen + done);) continue;
    });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    const double rate = flops / seconds.count() * 1e-9;
    if (rate > best) best = rate;
  }
  return best;
}

STABLE_TORCH_LIBRARY_IMPL(torchconv, CPU, m) {
  m.impl("conv2d", TORCH_BOX(&conv2d));
  m.impl("conv2d_grad_input", TORCH_BOX(&conv2d_grad_input));
  m.impl("conv2d_grad_weight", TORCH_BOX(&conv2d_grad_weight));
  m.impl("conv2d_backward", TORCH_BOX(&conv2d_backward));
}

STABLE_TORCH_LIBRARY_IMPL(torchconv, CompositeExplicitAutograd, m) {
  m.impl("_explain", TORCH_BOX(&explain));
  m.impl("_isa", TORCH_BOX(&isa));
  m.impl("_force_isa", TORCH_BOX(&force_isa_op));
  m.impl("_force_algorithm", TORCH_BOX(&force_algorithm_op));
  m.impl("_fma_peak", TORCH_BOX(&fma_peak));
}

}  // namespace
}  // namespace torchconv::cpu

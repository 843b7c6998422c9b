// The operators of operators.h on tensors of the CPU, and the chosen
// algorithm's plan run on torch's threads. User-facing validation is in torchconv/functional.py.
#include <torch/csrc/stable/library.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <new>
#include <string>

#include "cpu/algorithms.h"
#include "cpu/common/cost_model.h"
#include "cpu/kept_weights.h"
#include "cpu/margins.h"
#include "cpu/run_margins.h"
#include "cpu/select.h"
#include "cpu/simplify.h"
#include "cpu/torch/arguments.h"
#include "cpu/torch/threads.h"
#include "operators.h"

namespace torchconv::cpu {
namespace {

// Channels of a job that adds the gradient of a strip; elements that repay a second thread.
constexpr int64_t kStripChannels = 64, kStripElements = 32 << 10;

void run(const Task& task, const Algorithm& algorithm, const Plan& plan, double work) {
  print_call(task.op, task.shape, algorithm.name, isa_name(plan.isa));
  const TorchThreads threads = TorchThreads::for_work(work);
  const char* const packed = packed_for(task, algorithm, plan);
  if (run_plan(task, plan, algorithm.run_at(plan.isa), threads, packed)) return;
  const Conv2dShape& shape = task.shape;
  fail("out of memory: ", algorithm.name, " of ",
       size_text(Sizes{shape.n, shape.c, shape.h, shape.w}), " with ",
       size_text(Sizes{shape.k, shape.c_per_group(), shape.r, shape.s}), " needs ",
       plan.shared_bytes, " bytes of scratch and ", plan.scratch_bytes,
       " for each thread; fewer threads need less");
}

int64_t result_bytes(const Task& task) {
  const Conv2dShape& shape = task.shape;
  const int64_t elements = task.op == Op::kForward ? shape.n * shape.k * shape.p * shape.q
                           : task.op == Op::kGradInput
                               ? shape.n * shape.c * shape.h * shape.w
                               : shape.k * shape.c_per_group() * shape.r * shape.s;
  return elements * stored_bytes(shape.dtype);
}

void run(const Task& given, Winograd winograd);

// See margins.h.
void run_with_margins(const Task& given, Winograd winograd) {
  const Conv2dShape& shape = given.shape;
  Plan plan;
  const int64_t most_threads = torch::stable::get_num_threads();
  if (const Algorithm* const folding = select_folding(shape, winograd, most_threads, plan))
    return run(given, *folding, plan, multiply_adds(shape));
  const TorchThreads threads = TorchThreads::for_work(multiply_adds(shape));
  const auto tell = [](const MarginLayer& layer) {
    print_call(Op::kGradInput, layer.shape, layer.algorithm->name, isa_name(layer.plan.isa));
  };
  const auto fits = [](bool enough) {
    require(enough, "out of memory: scratch for the gradient of the padding");
  };
  const bool small_groups = has_small_groups(shape);
  const Cut folded = small_groups ? folded_groups(shape, threads.count()) : Cut{0, 0};
  if (folded.count > 0) return fits(run_folded(given, winograd, folded, threads, tell));
  Task task = given;
  task.shape.padding_mode = PaddingMode::kZeros;
  run(task, winograd);
  if (small_groups) return fits(run_strips(given, winograd, threads, tell));
  const MarginStrips margins(shape);
  int64_t most = 0;
  for (int64_t i = 0; i < margins.count; ++i)
    most = larger(most, margins.strips[i].shape.h * margins.strips[i].shape.w);
  const int64_t bytes = shape.n * shape.c * most * stored_bytes(shape.dtype);
  const std::unique_ptr<char[]> gradient(new (std::nothrow) char[bytes]);
  require(gradient != nullptr, "out of memory: the gradient of the padding needs ", bytes,
          " bytes");
  task.result = gradient.get();
  const int64_t parts = ceil_div(shape.c, kStripChannels), element = stored_bytes(shape.dtype);
  for (int64_t i = 0; i < margins.count; ++i) {
    const MarginStrip& strip = margins.strips[i];
    const ReachingTaps taps(strip.shape);
    if (!taps.any()) continue;
    const int64_t first_tap =
        taps.row * given.weight_stride[2] + taps.column * given.weight_stride[3];
    task.shape = taps.shape;
    task.weight = (const char*)given.weight + first_tap * element;
    run(task, winograd);
    const PaddedGradient from = {input_strides(strip.shape), strip.row, strip.column};
    std::vector<MarginSpan> spans;
    append_spans(shape, strip, from, spans);
    torch::stable::parallel_for(0, shape.n * parts, ceil_div(kStripElements, kStripChannels * most),
                                [&](int64_t begin, int64_t end) {
                                  for (int64_t job = begin; job < end; ++job) {
                                    const int64_t image = job / parts,
                                                  first = job % parts * kStripChannels;
                                    const auto at = [&](const Strides& of) {
                                      return (image * of.image + first * of.channel) * element;
                                    };
                                    add_spans(shape, spans, from, gradient.get() + at(from.strides),
                                              smaller(shape.c - first, kStripChannels),
                                              (char*)given.result + at(input_strides(shape)));
                                  }
                                });
  }
}

void run(const Task& given, Winograd winograd) {
  if (given.op == Op::kGradInput && given.shape.padding_mode != PaddingMode::kZeros)
    return run_with_margins(given, winograd);
  const SimplifiedTask simplified(given);
  const Task& task = simplified();
  const Conv2dShape& shape = task.shape;
  Plan plan;
  plan.weights_are_kept = task.packed != nullptr;
  const int64_t threads = torch::stable::get_num_threads();
  const Algorithm& algorithm = select_algorithm(task.op, shape, winograd, threads, plan);
  run(task, algorithm, plan, multiply_adds(shape));
}

struct Cpu {
  using Task = cpu::Task;
  static void check(const Tensor& a, const Tensor& b) {
    require(a.is_cpu() && b.is_cpu(), "tensors must be on the CPU");
  }
  static int32_t type() { return aoti_torch_device_type_cpu(); }
  static int32_t index(const Tensor&) { return 0; }
  static void run(Task task, const Tensor&, const Sizes& geometry) {
    task.shape = with_padding_mode(task.shape, geometry);
    const int64_t bytes = result_bytes(task);
    prefer_huge_result(task.result, bytes);
    cpu::run(task, winograd_of(geometry));
  }
  static Tensor grad_bias(const Tensor& grad, const Conv2dShape& shape) {
    Tensor result = empty_strided(grad, {shape.k}, {1}, type(), 0);
    if (result.numel() == 0) return result;
    if (grad.numel() == 0) return torch::stable::zero_(result);
    Task task{};
    task.op = Op::kGradWeight;
    task.shape = shape;
    task.grad = grad.const_data_ptr();
    task.result = result.mutable_data_ptr();
    Plan plan;
    plan.clear(isa_in_use(), 1);
    kGradBias.make_plan(task.op, shape, plan);
    cpu::run(task, kGradBias, plan, cost::kSumWork * static_cast<double>(grad.numel()));
    return result;
  }
};

Tensor conv2d_activation(const Tensor& input, const Tensor& weight,
                         const std::optional<Tensor>& bias, const std::optional<Tensor>& residual,
                         const Sizes& geometry, int64_t activation, double slope,
                         const std::optional<Tensor>& packed) {
  std::optional<Tensor> dense_residual;
  return Operators<Cpu>::forward(
      input, weight, bias, geometry, [&](Task& task, const Tensor& result) {
        task.activation = to_activation(activation);
        task.slope = slope;
        task.packed = packed_data(packed);
        if (!residual) return;
        Cpu::check(result, *residual);
        require(residual->scalar_type() == result.scalar_type(),
                "residual and input must have one dtype");
        require(residual->sizes().vec() == result.sizes().vec(), "residual must have size ",
                size_text(result.sizes().vec()));
        check_allocated(*residual, "residual");
        dense_residual = make_dense(*residual, task.shape.layout);
        task.residual = dense_residual->const_data_ptr();
      });
}

// Of size (0) where the algorithm that computes inputs of this size would not read it.
Tensor pack_weights(const Tensor& weight, const Sizes& input_size, const Sizes& geometry) {
  Task given{};
  given.op = Op::kForward;
  given.shape = with_padding_mode(
      make_shape(input_size, weight.sizes(), geometry, to_dtype(weight.scalar_type())), geometry);
  require(weight.is_cpu(), "tensors must be on the CPU");
  check_allocated(weight, "weight");
  given.weight = weight.const_data_ptr();
  for (int i = 0; i < 4; ++i) given.weight_stride[i] = weight.stride(i);
  const Conv2dShape& shape = given.shape;
  const auto bytes = [](int64_t count) {
    AtenTensorHandle handle;
    const int64_t size[1] = {count}, stride[1] = {1};
    require(aoti_torch_empty_strided(1, size, stride, aoti_torch_dtype_uint8(), Cpu::type(), 0,
                                     &handle) == AOTI_TORCH_SUCCESS,
            "out of memory: packed weights need ", count, " bytes");
    return Tensor(handle);
  };
  if (shape.n * shape.k * shape.p * shape.q == 0 || shape.c == 0) return bytes(0);
  const SimplifiedTask simplified(given);
  Plan plan;
  plan.weights_are_kept = true;
  const Algorithm& algorithm = select_algorithm(given.op, simplified().shape, winograd_of(geometry),
                                                torch::stable::get_num_threads(), plan);
  if (!plan.packs_weights) return bytes(0);
  const PackedHeader header(algorithm, plan, simplified().shape);
  Tensor packed = bytes((int64_t)sizeof(header) + plan.shared_bytes);
  char* const out = static_cast<char*>(packed.mutable_data_ptr());
  std::memcpy(out, header.values, sizeof(header));
  require(run_stage(simplified(), plan, algorithm.run_at(plan.isa), TorchThreads{!pool_is_lost()},
                    0, 0, out + sizeof(header)),
          "out of memory: packing weights needs ", plan.scratch_bytes, " bytes for each thread");
  return packed;
}

std::string explain(const std::string& op, const Sizes& input_size, const Sizes& weight_size,
                    const Sizes& geometry, const std::string& dtype) {
  Conv2dShape shape =
      with_padding_mode(make_shape(input_size, weight_size, geometry, to_dtype(dtype)), geometry);
  require(shape.h && shape.w && shape.p && shape.q, "there are no pixels to compute");
  Plan plan;
  if (to_op(op) == Op::kGradInput && !select_folding(shape, winograd_of(geometry), 1, plan))
    shape.padding_mode = PaddingMode::kZeros;  // the most of it
  return explain_choice(to_op(op), simplified(shape), winograd_of(geometry));
}

std::string isa() {
  return isa_name(isa_in_use());
}

std::string compiler() {
#if defined(__clang__)
  return __VERSION__;  // which names itself
#elif defined(__GNUC__)
  return "GCC " __VERSION__;
#else
  return "an unknown compiler";
#endif
}

void force_isa_op(std::string level) {
  require(force_isa(level), "no such ISA level on this CPU: ", level);
}

void force_algorithm_op(std::string name) {
  require(force_algorithm(name), "no such algorithm: ", name);
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
  m.impl("conv2d", TORCH_BOX(&Operators<Cpu>::conv2d));
  m.impl("conv2d_activation", TORCH_BOX(&conv2d_activation));
  m.impl("_pack_weights", TORCH_BOX(&pack_weights));
  m.impl("conv2d_grad_input", TORCH_BOX(&Operators<Cpu>::conv2d_grad_input));
  m.impl("conv2d_grad_weight", TORCH_BOX(&Operators<Cpu>::conv2d_grad_weight));
  m.impl("conv2d_backward", TORCH_BOX(&Operators<Cpu>::conv2d_backward));
}

STABLE_TORCH_LIBRARY_IMPL(torchconv, CompositeExplicitAutograd, m) {
  m.impl("_explain", TORCH_BOX(&explain));
  m.impl("_isa", TORCH_BOX(&isa));
  m.impl("_compiler", TORCH_BOX(&compiler));
  m.impl("_force_isa", TORCH_BOX(&force_isa_op));
  m.impl("_force_algorithm", TORCH_BOX(&force_algorithm_op));
  m.impl("_fma_peak", TORCH_BOX(&fma_peak));
}

}  // namespace
}  // namespace torchconv::cpu

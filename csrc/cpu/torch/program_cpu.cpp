// The operators that make and run programs (program/program.h) on tensors of the CPU. torchconv/_programs
// decides what goes into one, and when it may run.
#include <torch/csrc/stable/library.h>

#include <array>
#include <cstring>
#include <mutex>
#include <optional>

#include "cpu/common/cost_model.h"
#include "cpu/kept_weights.h"
#include "cpu/program/program.h"
#include "cpu/select.h"
#include "cpu/torch/arguments.h"
#include "cpu/torch/program.h"
#include "cpu/torch/threads.h"
#include "operators.h"

namespace torchconv::cpu {
namespace {

const Value& value_of(const Program& program, int64_t value) {
  require(value >= 0 && value < (int64_t)program.values.size(), "no such value: ", value);
  return program.values[value];
}

Sizes size_of(const Value& value) {
  return {value.n, value.c, value.h, value.w};
}
// The same as callers see it.
Sizes given_size(const Value& value) {
  return value.flat ? Sizes{value.n, value.c} : size_of(value);
}

int64_t new_program() {
  const std::lock_guard<std::mutex> lock(programs().guard);
  const int64_t handle = programs().next++;
  programs().all.emplace(handle, std::make_shared<TorchProgram>());
  return handle;
}

int64_t add_input(int64_t handle, const Tensor& example, bool channels_last) {
  const auto made = unfinished(handle);
  Program& program = made->program;
  const bool matrix = example.dim() == 2;  // for linear layers
  require(example.is_cpu() && (matrix || example.dim() == 4),
          "inputs must be images or matrices on the CPU");
  const Dtype dtype = to_dtype(example.scalar_type());
  require(made->inputs.empty() || dtype == program.dtype, "inputs must have one dtype");
  require(example.numel() > 0, "inputs must not be empty");
  program.dtype = dtype;
  Value value{example.size(0), example.size(1), matrix ? 1 : example.size(2),
              matrix ? 1 : example.size(3),
              channels_last ? Layout::kChannelsLast : Layout::kContiguous};
  value.flat = matrix;
  value.place = Value::Place::kInput;
  value.index = (int64_t)made->inputs.size();
  made->inputs.push_back((int64_t)program.values.size());
  program.values.push_back(value);
  return made->inputs.back();
}

void require_fit(const Tensor& operand, const char* name, Dtype dtype) {
  require(operand.is_cpu(), "tensors must be on the CPU");
  require(to_dtype(operand.scalar_type()) == dtype, "input and ", name, " must have one dtype");
  check_allocated(operand, name);
}

Held& hold(TorchProgram& made, const Tensor& operand, const char* name) {
  require_fit(operand, name, made.program.dtype);
  made.held.emplace_back(operand);
  return made.held.back();
}

// The step of a task that has its shape, its weight and what is to become of its results.
Step conv2d_step(TorchProgram& made, Task& task, const std::optional<Tensor>& bias,
                 const std::optional<Tensor>& packed, Winograd winograd) {
  const Conv2dShape& shape = task.shape;
  if (bias) {
    task.bias = hold(made, *bias, "bias").data;
    require(bias->dim() == 1 && bias->size(0) == shape.k && bias->is_contiguous(),
            "bias must be contiguous and have size (", shape.k, ")");
  }
  task.packed = packed_data(packed);
  if (task.packed) made.held.emplace_back(*packed);
  Step step{};
  step.task = std::make_shared<const SimplifiedTask>(task);
  const Task& simple = (*step.task)();
  step.plan.weights_are_kept = simple.packed != nullptr;
  step.algorithm = &select_algorithm(task.op, simple.shape, winograd, made.threads, step.plan);
  step.run = step.algorithm->run_at(step.plan.isa);
  step.packed = packed_for(simple, *step.algorithm, step.plan);
  step.work = multiply_adds(shape);
  step.residual = step.factor = -1;
  return step;
}

int64_t add_conv2d(int64_t handle, int64_t input, int64_t residual, const Tensor& weight,
                   const std::optional<Tensor>& bias, const std::optional<Tensor>& packed,
                   const Sizes& geometry, int64_t activation, double slope) {
  const auto made = unfinished(handle);
  Program& program = made->program;
  const Value& source = value_of(program, input);
  const bool linear = weight.dim() == 2;  // a layer that is a 1 x 1 kernel on one pixel
  Sizes weight_size = weight.sizes().vec();
  if (linear) weight_size.insert(weight_size.end(), {1, 1});
  Task task{};
  task.op = Op::kForward;
  task.shape = with_padding_mode(make_shape(size_of(source), weight_size, geometry, program.dtype),
                                 geometry);
  const Conv2dShape& shape = task.shape;
  require(source.has(shape.layout), "the input of a layer must have its layout");
  require(!linear || shape.h * shape.w * shape.p * shape.q == 1, "a linear layer has one pixel");
  Value result{shape.n, shape.k, shape.p, shape.q, shape.layout};
  result.flat = linear;
  require(result.elements() > 0 && shape.c > 0, "a layer must have inputs and outputs");
  if (residual >= 0) {
    const Value& added = value_of(program, residual);
    require(size_of(added) == size_of(result) && added.has(shape.layout),
            "the residual must have size ", size_text(size_of(result)), " and the layout");
  }
  task.activation = to_activation(activation);
  task.slope = slope;
  task.weight = hold(*made, weight, "weight").data;
  for (int i = 0; i < 4; ++i) task.weight_stride[i] = i < weight.dim() ? weight.stride(i) : 1;
  Step step = conv2d_step(*made, task, bias, packed, winograd_of(geometry));
  step.input = input, step.residual = residual;
  return program.add(std::move(step), result);
}

int64_t add_mean(int64_t handle, int64_t input) {
  const auto made = unfinished(handle);
  const Value source = value_of(made->program, input);
  Step step{};
  step.kind = Step::Kind::kMean;
  step.input = input, step.residual = step.factor = -1;
  return made->program.add(std::move(step), {source.n, source.c, 1, 1, source.layout});
}

int64_t add_product(int64_t handle, int64_t input, int64_t factor) {
  const auto made = unfinished(handle);
  const Value source = value_of(made->program, input);
  const Value& by = value_of(made->program, factor);
  require(by.n == source.n && by.c == source.c && by.h == 1 && by.w == 1,
          "the factor must have size ", size_text(Sizes{source.n, source.c, 1, 1}));
  require(source.has(Layout::kChannelsLast), "channels must be neighbours in memory");
  Task task{};
  task.op = Op::kForward;
  task.shape.n = source.n, task.shape.c = source.c;
  task.shape.h = source.h, task.shape.w = source.w;
  task.shape.dtype = made->program.dtype;
  task.shape.layout = Layout::kChannelsLast;
  Step step{};
  step.kind = Step::Kind::kProduct;
  step.task = std::make_shared<const SimplifiedTask>(task);
  step.plan.clear(made->isa, made->threads);
  plan_channel_product(task.shape, step.plan);
  step.run = kernels_of(made->isa).channel_product;
  step.work = cost::kSumWork * static_cast<double>(source.elements());
  step.input = input, step.residual = -1, step.factor = factor;
  Value result = source;
  result.place = Value::Place::kInside;
  return made->program.add(std::move(step), result);
}

int64_t finish(int64_t handle, const Sizes& outputs) {
  const auto made = unfinished(handle);
  for (const int64_t output : outputs) {
    value_of(made->program, output);
    Value& value = made->program.values[output];
    require(value.place == Value::Place::kInside, "value ", output, " cannot be an output");
    value.place = Value::Place::kOutput;
    value.index = (int64_t)made->outputs.size();
    made->outputs.push_back(output);
  }
  made->program.plan_memory();
  made->finished = true;
  return made->program.memory_bytes;
}

struct Call {
  std::vector<Tensor> dense, results;  // keep what the pointers point to
  std::vector<const void*> inputs;
  std::vector<void*> outputs;

  Call(const TorchProgram& made, const std::vector<Tensor>& given) {
    const Program& program = made.program;
    require(given.size() == made.inputs.size(), "the program takes ", made.inputs.size(),
            " inputs");
    for (size_t i = 0; i < given.size(); ++i) {
      const Value& value = program.values[made.inputs[i]];
      require_fit(given[i], "input", program.dtype);
      require(given[i].sizes().vec() == given_size(value), "input ", i, " must have size ",
              size_text(given_size(value)));
      dense.push_back(value.flat ? torch::stable::contiguous(given[i])
                                 : make_dense(given[i], value.layout));
      inputs.push_back(dense.back().const_data_ptr());
    }
    for (const int64_t output : made.outputs) {
      const Value& value = program.values[output];
      const int32_t cpu = aoti_torch_device_type_cpu();
      results.push_back(
          value.flat
              ? empty_strided(given[0], {value.n, value.c}, {value.c, 1}, cpu, 0)
              : empty_dense(given[0], {value.n, value.c, value.h, value.w}, value.layout, cpu, 0));
      outputs.push_back(results.back().mutable_data_ptr());
      const int64_t bytes = value.elements() * stored_bytes(program.dtype);
      prefer_huge_result(outputs.back(), bytes);
    }
  }
};

// PyTorch's, with the bits that the layers around it meet where no program runs.
Tensor mean_over_pixels(const Tensor& images) {
  const std::vector<int64_t> pixels = {2, 3};
  std::array<StableIValue, 4> stack = {
      torch::stable::detail::from(images),
      torch::stable::detail::from(std::optional<torch::headeronly::IntHeaderOnlyArrayRef>(pixels)),
      torch::stable::detail::from(true), torch::stable::detail::from(std::optional<ScalarType>())};
  require(torch_call_dispatcher("aten::mean", "dim", stack.data(), TORCH_ABI_VERSION) ==
              AOTI_TORCH_SUCCESS,
          "the mean over pixels failed");
  return torch::stable::detail::to<Tensor>(stack[0]);
}

struct Caller {
  ScalarType dtype;

  void mean(const Value& input, void* data, void* result) const {
    const int64_t c = input.c, h = input.h, w = input.w;
    const bool last = input.layout == Layout::kChannelsLast;
    const std::vector<int64_t> size = size_of(input);
    const std::vector<int64_t> stride = {c * h * w, last ? 1 : h * w, last ? w * c : w,
                                         last ? c : 1};
    const Tensor images = torch::stable::from_blob(
        data, size, stride, torch::stable::Device(torch::headeronly::DeviceType::CPU), dtype);
    const Tensor means = mean_over_pixels(images);
    const int64_t bytes = means.numel() * static_cast<int64_t>(means.element_size());
    std::memcpy(result, means.const_data_ptr(), static_cast<size_t>(bytes));
  }
  static TorchThreads threads(double work) { return TorchThreads::for_work(work); }
  static void tell(const Step& step, const Task& task) {
    print_call(task.op, task.shape, step.algorithm->name, isa_name(step.plan.isa));
  }
};

std::vector<Tensor> run_program(int64_t handle, const std::vector<Tensor>& inputs) {
  const auto made = find(handle);
  require(made->finished && !made->inputs.empty(), "the program is not finished");
  if (!made->may_run()) return {};
  Call call(*made, inputs);
  Arena own;
  const std::unique_lock<std::mutex> lock(made->running, std::try_to_lock);
  Arena& arena = lock ? made->memory : own;
  char* const memory = arena.reserve(larger(1, made->program.memory_bytes));
  const Caller caller{inputs[0].scalar_type()};
  require(memory && made->program.run(call.inputs, call.outputs, memory, caller),
          "out of memory: a program needs ", made->program.memory_bytes,
          " bytes for what is between its layers; a smaller batch or image needs less");
  return call.results;
}

void drop_program(int64_t handle) {
  std::shared_ptr<TorchProgram> dropped;  // ends outside of the lock
  const std::lock_guard<std::mutex> lock(programs().guard);
  const auto found = programs().all.find(handle);
  if (found == programs().all.end()) return;
  dropped = std::move(found->second);
  programs().all.erase(found);
}

int64_t count_programs() {
  const std::lock_guard<std::mutex> lock(programs().guard);
  return (int64_t)programs().all.size();
}

STABLE_TORCH_LIBRARY_IMPL(torchconv, CompositeExplicitAutograd, m) {
  m.impl("_program_new", TORCH_BOX(&new_program));
  m.impl("_program_input", TORCH_BOX(&add_input));
  m.impl("_program_conv2d", TORCH_BOX(&add_conv2d));
  m.impl("_program_mean", TORCH_BOX(&add_mean));
  m.impl("_program_multiply", TORCH_BOX(&add_product));
  m.impl("_program_finish", TORCH_BOX(&finish));
  m.impl("_program_run", TORCH_BOX(&run_program));
  m.impl("_program_drop", TORCH_BOX(&drop_program));
  m.impl("_program_count", TORCH_BOX(&count_programs));
}

}  // namespace
}  // namespace torchconv::cpu

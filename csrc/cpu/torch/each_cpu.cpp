// The operators conv2d_each and its gradients on tensors of the CPU: convolutions of one shape, each with an
// input and a weight of its own, in one call and with the bits of as many calls. The operands have one dimension
// more, in front; each of them may lie anywhere, and only one that is not dense in itself is copied.
// _grad_weight_squares keeps of every weight gradient the sum of its squares alone.
#include <torch/csrc/stable/library.h>

#include "cpu/common/sum_of_squares.h"
#include "cpu/run_each.h"
#include "cpu/torch/arguments.h"
#include "cpu/torch/threads.h"
#include "operators.h"

namespace torchconv::cpu {
namespace {

Sizes without_first(const Tensor& t) {
  const auto sizes = t.sizes();
  return Sizes(sizes.begin() + 1, sizes.end());
}

void check_operands(const Tensor& a, const char* a_name, const Tensor& b, const char* b_name) {
  require(a.is_cpu() && b.is_cpu(), "tensors must be on the CPU");
  require(a.dim() == 5 && b.dim() == 5, "tensors must have 5 dimensions");
  require(a.scalar_type() == b.scalar_type(), a_name, " and ", b_name, " must have one dtype");
  require(a.size(0) == b.size(0), a_name, " and ", b_name, " must be as many, got ", a.size(0),
          " and ", b.size(0));
  check_allocated(a, a_name);
  check_allocated(b, b_name);
}

void check_grad(const Tensor& grad, const Conv2dShape& d) {
  const Sizes expected = {grad.size(0), d.n, d.k, d.p, d.q};
  require(grad.sizes().vec() == expected, "grad must have size ", size_text(expected));
}

int64_t step_of(const Tensor& t) {
  return t.stride(0) * static_cast<int64_t>(t.element_size());
}

// The operand of every task, dense in the layout.
struct Each {
  Tensor dense;
  const void* data;
  int64_t step;

  Each(const Tensor& t, Layout layout) : dense(t) {
    const auto sizes = t.sizes(), strides = t.strides();
    if (t.numel() == 0 || is_dense(&sizes[1], &strides[1], layout)) {
      step = step_of(t);
    } else {
      const Sizes flat = {checked_product(sizes[0], sizes[1]), sizes[2], sizes[3], sizes[4]};
      dense = make_dense(torch::stable::reshape(t, {flat.data(), flat.size()}), layout);
      step = t.numel() / sizes[0] * static_cast<int64_t>(t.element_size());
    }
    data = dense.const_data_ptr();
  }
};

// A weight may have any strides, but where a simpler task takes its place it would be copied on each thread.
Tensor weights_of(const Tensor& weight, const Conv2dShape& shape) {
  return is_full_image(shape) ? torch::stable::contiguous(weight) : weight;
}

Tensor empty_results(const Tensor& like, int64_t count, const int64_t (&size)[4], Layout layout) {
  const auto least = [&](int i) { return std::max<int64_t>(size[i], 1); };
  const int64_t c = least(1), h = least(2), w = least(3);
  const int64_t image = checked_product(checked_product(h, w), c);
  const int64_t all[5] = {count, size[0], size[1], size[2], size[3]};
  const int64_t step = checked_product(least(0), image);
  const bool last = layout == Layout::kChannelsLast;
  const int64_t stride[5] = {step, image, last ? 1 : h * w, last ? w * c : w, last ? c : 1};
  return empty_strided(like, all, stride, aoti_torch_device_type_cpu(), 0);
}

void set_weight(EachTask& each, const Tensor& weight) {
  for (int i = 0; i < 4; ++i) each.first.weight_stride[i] = weight.stride(i + 1);
}

void set_result(EachTask& each, const Tensor& result) {
  each.first.result = result.mutable_data_ptr();
  each.result_step = step_of(result);
  const int64_t bytes = result.numel() * static_cast<int64_t>(result.element_size());
  prefer_huge_result(each.first.result, bytes);
}

struct InPlace {
  const EachTask& each;

  bool place(Task&) const { return true; }
  void done(int64_t, const Task&) const {}
  void tell(const Algorithm& algorithm, const Plan& plan) const {
    print_call(each.first.op, each.first.shape, algorithm.name, isa_name(plan.isa));
  }
};

template <class Caller>
void run(const EachTask& each, const Sizes& geometry, const Caller& caller) {
  const Conv2dShape& shape = each.first.shape;
  const double work = multiply_adds(shape) * static_cast<double>(each.count);
  require(run_each(each, winograd_of(geometry), TorchThreads::for_work(work), caller),
          "out of memory: scratch for ", op_name(each.first.op), " of ", each.count, " inputs of ",
          size_text(Sizes{shape.n, shape.c, shape.h, shape.w}), "; fewer threads need less");
}

EachTask new_task(Op op, const Tensor& operand, const Conv2dShape& shape) {
  EachTask each{};
  each.first.op = op;
  each.first.shape = shape;
  each.count = operand.size(0);
  return each;
}

Tensor conv2d_each(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                   const Sizes& geometry) {
  check_operands(input, "input", weight, "weight");
  const Conv2dShape d = with_padding_mode(make_shape(without_first(input), without_first(weight),
                                                     geometry, to_dtype(input.scalar_type())),
                                          geometry);
  EachTask each = new_task(Op::kForward, input, d);
  const Tensor result = empty_results(input, each.count, {d.n, d.k, d.p, d.q}, d.layout);
  if (bias) {
    const Sizes expected = {each.count, d.k};
    require(bias->is_cpu(), "tensors must be on the CPU");
    require(bias->scalar_type() == input.scalar_type(), "input and bias must have one dtype");
    require(bias->sizes().vec() == expected, "bias must have size ", size_text(expected));
    check_allocated(*bias, "bias");
  }
  if (result.numel() == 0) return result;
  const Each inputs(input, d.layout);
  const Tensor weights = weights_of(weight, d);
  std::optional<Tensor> biases;
  if (bias) {
    biases = bias->stride(1) == 1 ? *bias : torch::stable::contiguous(*bias);
    each.first.bias = biases->const_data_ptr();
    each.bias_step = step_of(*biases);
  }
  each.first.input = inputs.data, each.input_step = inputs.step;
  each.first.weight = weights.const_data_ptr(), each.weight_step = step_of(weights);
  set_weight(each, weights);
  set_result(each, result);
  run(each, geometry, InPlace{each});
  return result;
}

Tensor conv2d_each_grad_input(const Tensor& grad, const Tensor& weight, const Sizes& input_size,
                              const Sizes& geometry) {
  check_operands(grad, "grad", weight, "weight");
  const Conv2dShape d =
      make_shape(input_size, without_first(weight), geometry, to_dtype(grad.scalar_type()));
  require(with_padding_mode(d, geometry).padding_mode == PaddingMode::kZeros,
          "gradients of single inputs take zeros as padding");
  check_grad(grad, d);
  EachTask each = new_task(Op::kGradInput, grad, d);
  Tensor result = empty_results(grad, each.count, {d.n, d.c, d.h, d.w}, d.layout);
  if (result.numel() == 0) return result;
  if (grad.numel() == 0) return torch::stable::zero_(result);
  const Each grads(grad, d.layout);
  const Tensor weights = weights_of(weight, d);
  each.first.grad = grads.data, each.grad_step = grads.step;
  each.first.weight = weights.const_data_ptr(), each.weight_step = step_of(weights);
  set_weight(each, weights);
  set_result(each, result);
  run(each, geometry, InPlace{each});
  return result;
}

// The arguments of a weight gradient, checked.
Conv2dShape grad_weight_shape(const Tensor& grad, const Tensor& input, const Sizes& weight_size,
                              const Sizes& geometry) {
  check_operands(grad, "grad", input, "input");
  const Conv2dShape d = with_padding_mode(
      make_shape(without_first(input), weight_size, geometry, to_dtype(grad.scalar_type())),
      geometry);
  check_grad(grad, d);
  return d;
}

void set_operands(EachTask& each, const Each& grads, const Each& inputs) {
  each.first.grad = grads.data, each.grad_step = grads.step;
  each.first.input = inputs.data, each.input_step = inputs.step;
}

Tensor conv2d_each_grad_weight(const Tensor& grad, const Tensor& input, const Sizes& weight_size,
                               const Sizes& geometry) {
  const Conv2dShape d = grad_weight_shape(grad, input, weight_size, geometry);
  EachTask each = new_task(Op::kGradWeight, grad, d);
  Tensor result = empty_results(grad, each.count, {d.k, d.c_per_group(), d.r, d.s}, d.layout);
  if (result.numel() == 0) return result;
  if (grad.numel() == 0) return torch::stable::zero_(result);
  const Each grads(grad, d.layout), inputs(input, d.layout);
  set_operands(each, grads, inputs);
  set_weight(each, result);
  set_result(each, result);
  run(each, geometry, InPlace{each});
  return result;
}

// Puts each gradient where the one before it of the same thread was.
struct SquaresOnly : InPlace {
  double* sums;
  int64_t elements;

  bool place(Task& task) const {
    task.result = gradient_arena().reserve(elements * stored_bytes(task.shape.dtype));
    return task.result;
  }
  void done(int64_t index, const Task& task) const {
    const FlushDenormals flush;
    sums[index] = dispatch_dtype(task.shape.dtype, [&](auto* storage) {
      return sum_of_squares(static_cast<const decltype(storage)>(task.result), elements);
    });
    gradient_arena().trim();
  }
};

Tensor grad_weight_squares(const Tensor& grad, const Tensor& input, const Sizes& weight_size,
                           const Sizes& geometry) {
  const Conv2dShape d = grad_weight_shape(grad, input, weight_size, geometry);
  EachTask each = new_task(Op::kGradWeight, grad, d);
  const int64_t size[1] = {each.count}, stride[1] = {1};
  AtenTensorHandle handle;
  require(aoti_torch_empty_strided(1, size, stride, aoti_torch_dtype_float64(),
                                   aoti_torch_device_type_cpu(), 0, &handle) == AOTI_TORCH_SUCCESS,
          "out of memory: ", each.count, " sums of squares");
  Tensor result(handle);
  const int64_t c = d.c_per_group();
  const int64_t elements = checked_product(checked_product(d.k, c), checked_product(d.r, d.s));
  if (each.count == 0) return result;
  if (elements == 0 || grad.numel() == 0) return torch::stable::zero_(result);
  const Each grads(grad, d.layout), inputs(input, d.layout);
  set_operands(each, grads, inputs);
  const Strides strides = dense(d.layout, c, d.r, d.s);
  const int64_t weight_stride[4] = {strides.image, strides.channel, strides.row, strides.column};
  std::copy(weight_stride, weight_stride + 4, each.first.weight_stride);
  double* const sums = static_cast<double*>(result.mutable_data_ptr());
  run(each, geometry, SquaresOnly{{each}, sums, elements});
  return result;
}

STABLE_TORCH_LIBRARY_IMPL(torchconv, CPU, m) {
  m.impl("conv2d_each", TORCH_BOX(&conv2d_each));
  m.impl("conv2d_each_grad_input", TORCH_BOX(&conv2d_each_grad_input));
  m.impl("conv2d_each_grad_weight", TORCH_BOX(&conv2d_each_grad_weight));
  m.impl("_grad_weight_squares", TORCH_BOX(&grad_weight_squares));
}

}  // namespace
}  // namespace torchconv::cpu

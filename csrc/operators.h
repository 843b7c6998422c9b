// The three operators on any device: arguments checked for what would corrupt memory, operands made
// dense, the result allocated. What is left is a task, which the device runs. Stable ABI only.
//
// A Device has
//   Task                        with op, shape, input, weight, bias, grad, result, weight_stride
//   check(a, b)                 throws unless it holds both
//   type(), index(tensor)       where results are allocated
//   run(task, like, geometry)   computes task.result on the device of like
//   grad_bias(grad, shape)      sums a dense gradient over all but its channels
#pragma once

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <tuple>

#include "tensor_utils.h"

namespace torchconv {

inline const char* op_name(Op op) {
  return op == Op::kForward ? "forward" : op == Op::kGradInput ? "grad_input" : "grad_weight";
}

inline Op to_op(const std::string& name) {
  require(name == "forward" || name == "grad_input" || name == "grad_weight",
          "op must be forward, grad_input or grad_weight, got ", name);
  return name == "forward" ? Op::kForward : name == "grad_input" ? Op::kGradInput : Op::kGradWeight;
}

// TORCHCONV_VERBOSE=1: a line on stderr for every call.
inline void print_call(Op op, const Conv2dShape& d, const char* algorithm, const char* where) {
  static const bool verbose = [] {
    const char* value = std::getenv("TORCHCONV_VERBOSE");
    return value && std::string(value) == "1";
  }();
  if (!verbose) return;
  std::fprintf(stderr,
               "%s input %lldx%lldx%lldx%lld kernel %lldx%lldx%lld groups %lld: %s, "
               "%s\n",
               op_name(op), (long long)d.n, (long long)d.c, (long long)d.h, (long long)d.w,
               (long long)d.k, (long long)d.r, (long long)d.s, (long long)d.groups, algorithm,
               where);
}

template <class Device>
struct Operators {
  using Task = typename Device::Task;

  static Tensor conv2d(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                       const Sizes& geometry) {
    return forward(input, weight, bias, geometry, [](Task&, const Tensor&) {});
  }

  // finish(task, result) may add what is to become of the results.
  template <class Finish>
  static Tensor forward(const Tensor& input, const Tensor& weight,
                        const std::optional<Tensor>& bias, const Sizes& geometry,
                        const Finish& finish) {
    check_operands(input, "input", weight, "weight");
    Task task{};
    task.op = Op::kForward;
    task.shape = make_shape(input.sizes(), weight.sizes(), geometry, to_dtype(input.scalar_type()));
    const Conv2dShape& d = task.shape;
    const Tensor dense_input = make_dense(input, d.layout);
    const Tensor result = empty_result(input, {d.n, d.k, d.p, d.q}, d.layout);
    if (result.numel() == 0) return result;
    std::optional<Tensor> dense_bias;
    if (bias) {
      check_operands(input, "input", *bias, "bias");
      require(bias->dim() == 1 && bias->size(0) == d.k, "bias must have size (", d.k, ")");
      dense_bias = bias->is_contiguous() ? *bias : torch::stable::contiguous(*bias);
      task.bias = dense_bias->const_data_ptr();
    }
    task.input = dense_input.const_data_ptr();
    task.weight = weight.const_data_ptr();
    set_weight_strides(task, weight);
    task.result = result.mutable_data_ptr();
    finish(task, result);
    Device::run(task, result, geometry);
    return result;
  }

  static Tensor conv2d_grad_input(const Tensor& grad, const Tensor& weight, const Sizes& input_size,
                                  const Sizes& geometry) {
    check_operands(grad, "grad", weight, "weight");
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
    Device::run(task, result, geometry);
    return result;
  }

  static Tensor conv2d_grad_weight(const Tensor& grad, const Tensor& input,
                                   const Sizes& weight_size, const Sizes& geometry) {
    check_operands(grad, "grad", input, "input");
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
    Device::run(task, result, geometry);
    return result;
  }

  // What the backward pass of a layer asks for, in one call. Of size (0) if not wanted: the gradient
  // of the input without the weight, that of the bias.
  static std::tuple<Tensor, Tensor, Tensor> conv2d_backward(const Tensor& grad, const Tensor& input,
                                                            const std::optional<Tensor>& weight,
                                                            const Sizes& weight_size,
                                                            const Sizes& geometry,
                                                            bool bias_needed) {
    return backward_with(conv2d_grad_input, conv2d_grad_weight, grad, input, weight, weight_size,
                         geometry, bias_needed);
  }

  // The same where the two products may be others' work.
  template <class GradInput, class GradWeight>
  static std::tuple<Tensor, Tensor, Tensor> backward_with(const GradInput& grad_input,
                                                          const GradWeight& grad_weight,
                                                          const Tensor& grad, const Tensor& input,
                                                          const std::optional<Tensor>& weight,
                                                          const Sizes& weight_size,
                                                          const Sizes& geometry, bool bias_needed) {
    check_operands(grad, "grad", input, "input");
    const Sizes input_size = input.sizes().vec();
    const Conv2dShape d =
        make_shape(input_size, weight_size, geometry, to_dtype(grad.scalar_type()));
    check_size(grad, d.n, d.k, d.p, d.q, "grad");
    const Tensor dense_grad = make_dense(grad, d.layout);
    const auto nothing = [&] {
      return empty_strided(grad, {0}, {1}, Device::type(), Device::index(grad));
    };
    return {weight ? grad_input(dense_grad, *weight, input_size, geometry) : nothing(),
            grad_weight(dense_grad, input, weight_size, geometry),
            bias_needed ? Device::grad_bias(dense_grad, d) : nothing()};
  }

 private:
  static void check_operands(const Tensor& a, const char* a_name, const Tensor& b,
                             const char* b_name) {
    Device::check(a, b);
    require(a.scalar_type() == b.scalar_type(), a_name, " and ", b_name, " must have one dtype");
    check_allocated(a, a_name);
    check_allocated(b, b_name);
  }

  static void check_size(const Tensor& t, int64_t n, int64_t c, int64_t h, int64_t w,
                         const char* name) {
    const auto sizes = t.sizes();
    require(sizes.size() == 4 && sizes[0] == n && sizes[1] == c && sizes[2] == h && sizes[3] == w,
            name, " must have size (", n, ", ", c, ", ", h, ", ", w, ")");
  }

  static Tensor empty_result(const Tensor& like, const int64_t (&size)[4], Layout layout) {
    return empty_dense(like, size, layout, Device::type(), Device::index(like));
  }

  static void set_weight_strides(Task& task, const Tensor& weight) {
    for (int i = 0; i < 4; ++i) task.weight_stride[i] = weight.stride(i);
  }
};

}  // namespace torchconv

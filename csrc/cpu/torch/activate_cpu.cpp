// The operator activate on tensors of the CPU: activation(input + residual) by itself, with the bits that a
// convolution gives that ends with it.
#include <torch/csrc/stable/library.h>

#include <optional>
#include <utility>

#include "cpu/activate/plan.h"
#include "cpu/algorithms.h"
#include "cpu/common/cost_model.h"
#include "cpu/run_plan.h"
#include "cpu/select.h"
#include "cpu/torch/arguments.h"
#include "cpu/torch/threads.h"
#include "tensor_utils.h"

namespace torchconv::cpu {
namespace {

// Whether the elements lie one after the other, in the order of any dimensions.
bool is_row(const Tensor& t) {
  const auto sizes = t.sizes(), strides = t.strides();
  std::vector<std::pair<int64_t, int64_t>> steps;
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] != 1) steps.emplace_back(strides[i], sizes[i]);
  }
  std::sort(steps.begin(), steps.end());
  int64_t expected = 1;
  for (const auto& [stride, size] : steps) {
    if (stride != expected) return false;
    expected *= size;
  }
  return true;
}

bool same_strides(const Tensor& a, const Tensor& b) {
  for (int64_t i = 0; i < a.dim(); ++i) {
    if (a.size(i) != 1 && a.stride(i) != b.stride(i)) return false;
  }
  return true;
}

Tensor in_order_of(const Tensor& like, const Tensor& t) {
  if (same_strides(like, t)) return t;
  Tensor ordered = torch::stable::empty_like(like);
  return torch::stable::copy_(ordered, t);
}

void check_residual(const Tensor& residual, const Tensor& input) {
  require(residual.is_cpu(), "tensors must be on the CPU");
  require(residual.scalar_type() == input.scalar_type(), "input and residual must have one dtype");
  require(residual.sizes().vec() == input.sizes().vec(), "residual must have size ",
          size_text(input.sizes()), ", got ", size_text(residual.sizes()));
  check_allocated(residual, "residual");
}

// What an element costs, in multiply-adds.
double work_of(Activation activation) {
  switch (activation) {
    case Activation::kSilu:
    case Activation::kGelu:
    case Activation::kSigmoid:
      return 4 * cost::kSumWork;
    default:
      return cost::kSumWork;
  }
}

Tensor activate(const Tensor& input, const std::optional<Tensor>& residual, int64_t activation,
                double slope) {
  require(input.is_cpu(), "tensors must be on the CPU");
  check_allocated(input, "input");
  Task task{};
  task.op = Op::kForward;
  task.shape.dtype = to_dtype(input.scalar_type());
  if (residual) check_residual(*residual, input);
  Tensor result = torch::stable::empty_like(input);
  if (input.numel() == 0) return result;
  require(is_row(input), "input must be dense");
  std::optional<Tensor> ordered;
  if (residual) {
    ordered = in_order_of(input, *residual);
    task.residual = ordered->const_data_ptr();
  }
  task.input = input.const_data_ptr();
  task.result = result.mutable_data_ptr();
  task.activation = to_activation(activation);
  task.slope = slope;
  const ActivatePlan elements = make_activate_plan(input.numel(), task.shape.dtype);
  Plan plan;
  plan.clear(isa_in_use(), 1);
  plan.keep(elements);
  plan.jobs[0] = ceil_div(elements.elements, elements.per_job);
  const double work = work_of(task.activation) * static_cast<double>(elements.elements);
  run_plan(task, plan, kernels_of(plan.isa).activate, TorchThreads::for_work(work));
  return result;
}

STABLE_TORCH_LIBRARY_IMPL(torchconv, CPU, m) {
  m.impl("activate", TORCH_BOX(&activate));
}

}  // namespace
}  // namespace torchconv::cpu

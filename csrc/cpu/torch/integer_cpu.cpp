// The operator conv2d_int32 on tensors of the CPU: sums of products of integers of 8 bits, exact in 32.
#include <torch/csrc/stable/library.h>

#include <cstdlib>
#include <optional>

#include "cpu/integer/kernels.h"
#include "cpu/integer/plan_quads.h"
#include "cpu/run_plan.h"
#include "cpu/select.h"
#include "cpu/torch/arguments.h"
#include "cpu/torch/threads.h"
#include "operators.h"

namespace torchconv::cpu {
namespace {

// Those of the level in use. VNNI comes with AVX-512 where the CPU has both, unless avx512 is forced.
const IntegerKernels& integer_kernels() {
#if defined(__x86_64__)
  const Isa isa = isa_in_use();
  const bool plain = isa_is_forced() && isa == Isa::kAvx512;
  if (isa >= Isa::kAvx512 && !plain && __builtin_cpu_supports("avx512vnni")) return kVnniIntegers;
  if (isa >= Isa::kAvx512) return kAvx512Integers;
  if (isa == Isa::kAvx2) return kAvx2Integers;
#endif
  return kPortableIntegers;
}

void check(const Tensor& t, const char* name) {
  require(t.is_cpu(), "tensors must be on the CPU");
  check_allocated(t, name);
}

int64_t largest(const Tensor& bias) {
  const auto* const values = static_cast<const int32_t*>(bias.const_data_ptr());
  int64_t most = 0;
  for (int64_t i = 0; i < bias.numel(); ++i) most = larger(most, std::abs(int64_t{values[i]}));
  return most;
}

// No sum of a layer of this shape may leave 32 bits, whatever its images and weights are.
void check_bound(const Conv2dShape& d, bool is_signed, int64_t bias) {
  const int64_t product = 128 * (is_signed ? 128 : 255);
  const int64_t products = checked_product(checked_product(d.c_per_group(), d.r), d.s);
  const int64_t room = INT32_MAX - bias;
  require(room >= 0 && products <= room / product, "sums of ", products, " products of up to ",
          product, " and a bias of up to ", bias, " may not fit into int32");
}

Tensor conv2d_int32(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                    const Sizes& geometry) {
  check(input, "input");
  check(weight, "weight");
  const bool is_signed = input.scalar_type() == ScalarType::Char;
  require(is_signed || input.scalar_type() == ScalarType::Byte, "input must be uint8 or int8");
  require(weight.scalar_type() == ScalarType::Char, "weight must be int8");
  Task task{};
  task.op = Op::kForward;
  task.shape = make_shape(input.sizes(), weight.sizes(), geometry, Dtype::kFloat32);
  const Conv2dShape& d = task.shape;
  std::optional<Tensor> dense_bias;
  int64_t largest_bias = 0;
  if (bias) {
    check(*bias, "bias");
    require(bias->scalar_type() == ScalarType::Int, "bias must be int32");
    require(bias->dim() == 1 && bias->size(0) == d.k, "bias must have size (", d.k, ")");
    dense_bias = bias->is_contiguous() ? *bias : torch::stable::contiguous(*bias);
    task.bias = dense_bias->const_data_ptr();
    largest_bias = largest(*dense_bias);
  }
  check_bound(d, is_signed, largest_bias);
  const int64_t size[4] = {d.n, d.k, d.p, d.q};
  const Strides to = dense_strides(size, d.layout);
  const Tensor result =
      empty_strided(aoti_torch_dtype_int32(), 4, size, {to.image, to.channel, to.row, to.column},
                    aoti_torch_device_type_cpu(), 0);
  if (result.numel() == 0) return result;
  const Tensor dense_input = make_dense(input, d.layout);
  task.input = dense_input.const_data_ptr();
  task.weight = weight.const_data_ptr();
  for (int i = 0; i < 4; ++i) task.weight_stride[i] = weight.stride(i);
  task.result = result.mutable_data_ptr();
  prefer_huge_result(task.result, result.numel() * 4);
  const TorchThreads threads = TorchThreads::for_work(multiply_adds(d));
  Plan plan;
  plan.clear(isa_in_use(), threads.count());
  const IntegerKernels& kernels = integer_kernels();
  plan_integers(d, is_signed, kernels, plan);
  print_call(task.op, d, "integer", isa_name(plan.isa));
  require(run_plan(task, plan, kernels.run, threads), "out of memory: integers of ",
          size_text(input.sizes()), " with ", size_text(weight.sizes()), " need ",
          plan.shared_bytes, " bytes of scratch and ", plan.scratch_bytes, " for each thread");
  return result;
}

STABLE_TORCH_LIBRARY_IMPL(torchconv, CPU, m) {
  m.impl("conv2d_int32", TORCH_BOX(&conv2d_int32));
}

}  // namespace
}  // namespace torchconv::cpu

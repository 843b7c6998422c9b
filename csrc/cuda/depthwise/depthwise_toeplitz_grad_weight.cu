// Depthwise weight gradient of large kernels in half types: square, 7 to 32 rows, stride 1, planes in
// memory. The products of depthwise_toeplitz.cu the other way round, per row r of the filter:
//
//    16 columns of the input        8 columns of grad           16 x 8 sums
//    x 16 rows, r below       x     x 16 rows             +=    weight(r, s) is a diagonal of them
//
// A block sums one split; ordered_sum.cuh adds the splits in order.
#include "cuda/algorithms.h"
#include "cuda/depthwise/toeplitz_grad_weight.cuh"

namespace torchconv::cuda {
namespace {

bool applicable(Op op, const Conv2dShape& d) {
  return op == Op::kGradWeight && toeplitz_applicable(d);
}

// f(number of steps, as a type)
template <class F>
auto with_steps(const Conv2dShape& d, const F& f) {
  switch (toeplitz_steps(d.s)) {
    case 1:
      return f(std::integral_constant<int, 1>());
    case 2:
      return f(std::integral_constant<int, 2>());
    default:
      return f(std::integral_constant<int, 3>());
  }
}

int64_t workspace_bytes(Op op, const Conv2dShape& d) {
  Task task{};
  task.op = op;
  task.shape = d;
  return with_steps(d, [&](auto steps) {
    return split_sums_bytes(d, toeplitz_grad_weight_task<steps>(task).sums.splits);
  });
}

cudaError_t launch_depthwise_toeplitz_grad_weight(const Task& task, cudaStream_t stream) {
  return with_steps(task.shape, [&](auto steps) {
    return task.shape.dtype == Dtype::kBFloat16
               ? launch_toeplitz_grad_weight<BFloat16, steps>(task, stream)
               : launch_toeplitz_grad_weight<Float16, steps>(task, stream);
  });
}

}  // namespace

const Algorithm kDepthwiseToeplitzGradWeight = {
    "depthwise_toeplitz_grad_weight", "depthwise_toeplitz_grad_weight", applicable, workspace_bytes,
    launch_depthwise_toeplitz_grad_weight};

}  // namespace torchconv::cuda

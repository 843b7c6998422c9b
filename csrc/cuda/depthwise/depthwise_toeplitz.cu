// Depthwise forward and grad_input of large kernels in half types.
#include "cuda/algorithms.h"
#include "cuda/depthwise/toeplitz.cuh"

namespace torchconv::cuda {
namespace {

bool applicable(Op op, const Conv2dShape& d) {
  return op != Op::kGradWeight && toeplitz_applicable(d);
}

int64_t workspace_bytes(Op, const Conv2dShape&) {
  return 0;
}

template <class S>
cudaError_t launch_dtype(const Task& task, cudaStream_t stream) {
  switch (toeplitz_steps(task.shape.s)) {
    case 1:
      return launch_toeplitz<S, 1>(task, stream);
    case 2:
      return launch_toeplitz<S, 2>(task, stream);
    default:
      return launch_toeplitz<S, 3>(task, stream);
  }
}

cudaError_t launch_depthwise_toeplitz(const Task& task, cudaStream_t stream) {
  return task.shape.dtype == Dtype::kBFloat16 ? launch_dtype<BFloat16>(task, stream)
                                              : launch_dtype<Float16>(task, stream);
}

}  // namespace

const Algorithm kDepthwiseToeplitz = {"depthwise_toeplitz", "depthwise_toeplitz", applicable,
                                      workspace_bytes, launch_depthwise_toeplitz};

}  // namespace torchconv::cuda

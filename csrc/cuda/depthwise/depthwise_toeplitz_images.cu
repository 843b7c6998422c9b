// Depthwise forward and grad_input of large kernels in half types: the layers and the products of
// depthwise_toeplitz.cu, with a block for several groups of images of one channel:
//
//    copies     group 0 | group 1        | group 2        | ...
//    filter     made    |                |                |
//    products           | group 0, store | group 1, store | ...
//
// Of 64 images of 14x14 with 384 channels a block takes eight groups of four. It waits for a GPU: it
// stands behind depthwise_toeplitz in the list of the algorithms, and takes its place once it has been
// found faster.
#include "cuda/algorithms.h"
#include "cuda/depthwise/toeplitz_images.cuh"

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
      return launch_toeplitz_images<S, 1>(task, stream);
    case 2:
      return launch_toeplitz_images<S, 2>(task, stream);
    default:
      return launch_toeplitz_images<S, 3>(task, stream);
  }
}

cudaError_t launch_images(const Task& task, cudaStream_t stream) {
  return task.shape.dtype == Dtype::kBFloat16 ? launch_dtype<BFloat16>(task, stream)
                                              : launch_dtype<Float16>(task, stream);
}

}  // namespace

const Algorithm kDepthwiseToeplitzImages = {"depthwise_toeplitz_images",
                                            "depthwise_toeplitz_images", applicable,
                                            workspace_bytes, launch_images};

}  // namespace torchconv::cuda

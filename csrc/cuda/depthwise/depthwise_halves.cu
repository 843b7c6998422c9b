// Depthwise forward and grad_input of 3x3 and 5x5 in half types, planes in memory, strides 1 and 2
// (grad_input: 1). What depthwise.cu computes with planes.cuh, by the same sums, in another way:
//
//    global memory          shared memory             registers of a thread
//    +--------------+       +--------------+
//    |  +--------+  | async | halves, zeros|  pairs   4 x 4 pixels (stride 2: 2 x 4), widened
//    |  | window |  | ----> | outside      | ------>
//    |  +--------+  |       +--------------+
//    +--------------+
//
// Per 14x14 plane with 3x3 that is 10 copies of 4 bytes for each of 16 rows where planes.cuh loads,
// widens and stores 18 elements. It waits for a GPU: it stands behind depthwise in the list of the
// algorithms, and takes the place of planes.cuh once it has been found faster.
#include "cuda/algorithms.h"
#include "cuda/depthwise/halves.cuh"

namespace torchconv::cuda {
namespace {

bool applicable(Op op, const Conv2dShape& d) {
  const bool half = d.dtype == Dtype::kBFloat16 || d.dtype == Dtype::kFloat16;
  return op != Op::kGradWeight && half && d.layout == Layout::kContiguous && d.r <= 5 &&
         has_window(op, d) && depthwise_applicable(op, d);
}

int64_t workspace_bytes(Op, const Conv2dShape&) {
  return 0;
}

template <class S>
cudaError_t launch_dtype(const Task& task, cudaStream_t stream) {
  const bool small = task.shape.r == 3;
  if (task.shape.stride_h == 1) {
    return small ? launch_depthwise_halves<S, 3, 1>(task, stream)
                 : launch_depthwise_halves<S, 5, 1>(task, stream);
  }
  return small ? launch_depthwise_halves<S, 3, 2>(task, stream)
               : launch_depthwise_halves<S, 5, 2>(task, stream);
}

cudaError_t launch_halves(const Task& task, cudaStream_t stream) {
  return task.shape.dtype == Dtype::kBFloat16 ? launch_dtype<BFloat16>(task, stream)
                                              : launch_dtype<Float16>(task, stream);
}

}  // namespace

const Algorithm kDepthwiseHalves = {"depthwise_halves", "depthwise_halves", applicable,
                                    workspace_bytes, launch_halves};

}  // namespace torchconv::cuda

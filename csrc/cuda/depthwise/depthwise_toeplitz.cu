// Depthwise forward and grad_input of large kernels in half types: square, 7 to 32 rows, stride 1,
// planes in memory. Per row r of the filter (a b c here) one product on the tensor cores:
//
//    16 rows of the image         Toeplitz matrix          8 neighbouring pixels
//    x 16 columns                 of filter row r          in 16 rows
//    +----------------+           a . . .                  +--------+
//    |                |           b a . .                  |        |
//    |   row p + r    |     x     c b a .           += ->  |  row p |
//    |                |           . c b a                  |        |
//    +----------------+           . . c b                  +--------+
//                                 . . . c
//
// Kernels of up to 9 columns take one step of 16 columns, up to 25 two, above three. Of the products
// s / (16 * steps) are with the filter, the others with zeros, which a tensor core can afford where a
// plain kernel would be bound by arithmetic.
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

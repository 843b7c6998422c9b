#include "cuda/few_channels.cuh"

#include "cuda/algorithms.h"

namespace torchconv::cuda {
namespace {

// float64 needs more shared memory than a block has; few filters leave most of a tile empty.
bool applicable(Op op, const Conv2dShape& d) {
  return op == Op::kForward && general_applicable(op, d) && d.groups == 1 && d.c <= 4 &&
         d.k > kFilterRows / 4 && d.c * d.r * d.s <= kMostSteps && d.dtype != Dtype::kFloat64 &&
         pixel_tile(d).rows > 0;
}

int64_t workspace_bytes(Op, const Conv2dShape&) {
  return 0;
}

cudaError_t launch_few_channels(const Task& task, cudaStream_t stream) {
  switch (task.shape.dtype) {
    case Dtype::kFloat32:
      return task.allow_tf32 ? launch_few_channels_as<float, TensorCore>(task, stream)
                             : launch_few_channels_as<float, FusedMultiplyAdd>(task, stream);
    case Dtype::kBFloat16:
      return launch_few_channels_as<BFloat16, TensorCore>(task, stream);
    default:
      return launch_few_channels_as<Float16, TensorCore>(task, stream);
  }
}

}  // namespace

const Algorithm kFewChannels = {"few_channels", "few_channels", applicable, workspace_bytes,
                                launch_few_channels};

}  // namespace torchconv::cuda

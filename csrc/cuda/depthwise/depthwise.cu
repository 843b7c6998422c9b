// Depthwise forward and grad_input: one input channel per group. Which kernel computes which layer:
//
//   planes.cuh     square 3x3, 5x5, 7x7 without gaps, planes in memory (contiguous)
//   channels.cuh   the same in channels_last, where a vector of channels fits
//   any.cuh        all others: any kernel, dilation, stride, several filters per channel
//
// The first two have strides 1 and 2 (7x7: 1), grad_input stride 1, where it is a forward with the
// filter turned around. What a block of planes.cuh does:
//
//    global memory          shared memory             registers of a thread
//    +--------------+       +--------------+
//    |  +--------+  | copy  | padding and  | vectors  4 x 4 pixels (stride 2: 2 x 4); each row of
//    |  | window |  | ----> | what windows | ------>  the source is read once for all rows of the
//    |  +--------+  |       | reach        |          patch that it meets
//    +--------------+       +--------------+
//
// These layers are bound by memory: a source pixel comes from global memory once, and once more for
// each neighbouring tile whose windows reach it. any.cuh stages nothing and counts on the caches.
#include <type_traits>

#include "cuda/algorithms.h"
#include "cuda/depthwise/channels.cuh"
#include "cuda/depthwise/planes.cuh"

namespace torchconv::cuda {
namespace {

bool applicable(Op op, const Conv2dShape& d) {
  return op != Op::kGradWeight && depthwise_applicable(op, d);
}

int64_t workspace_bytes(Op, const Conv2dShape&) {
  return 0;
}

template <class S, int Size, int Stride>
cudaError_t launch_window(const Task& task, bool vectors, cudaStream_t stream) {
  return vectors ? launch_depthwise_channels<S, Size, Stride>(task, stream)
                 : launch_depthwise_planes<S, Size, Stride>(task, stream);
}

template <class S>
cudaError_t launch_dtype(const Task& task, cudaStream_t stream) {
  const Conv2dShape& d = task.shape;
  const bool vectors = channel_vectors(task);
  if (vectors || d.layout == Layout::kContiguous) {
    if (has_window(task.op, d, 3, 1)) return launch_window<S, 3, 1>(task, vectors, stream);
    if (has_window(task.op, d, 3, 2)) return launch_window<S, 3, 2>(task, vectors, stream);
    if (has_window(task.op, d, 5, 1)) return launch_window<S, 5, 1>(task, vectors, stream);
    if (has_window(task.op, d, 5, 2)) return launch_window<S, 5, 2>(task, vectors, stream);
    if (has_window(task.op, d, 7, 1)) return launch_window<S, 7, 1>(task, vectors, stream);
  }
  return vectors ? launch_depthwise_any<S, Vector<S>::kSize>(task, stream)
                 : launch_depthwise_any<S, 1>(task, stream);
}

cudaError_t launch_depthwise(const Task& task, cudaStream_t stream) {
  return dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    return launch_dtype<std::remove_pointer_t<decltype(storage)>>(task, stream);
  });
}

const char* variant(Op op, const Conv2dShape& d) {
  const bool vectors = channel_vectors(d);
  if (has_window(op, d) && (vectors || d.layout == Layout::kContiguous))
    return vectors ? "channels" : "planes";
  return any_variant(d, vectors ? "vectors" : "any");
}

}  // namespace

const Algorithm kDepthwise = {"depthwise",     "depthwise",      applicable,
                              workspace_bytes, launch_depthwise, variant};

}  // namespace torchconv::cuda

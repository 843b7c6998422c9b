// Depthwise weight gradient: which kernel computes which geometry, and how many splits. Geometries
// are as in depthwise.cu: windows of a fixed size in planes or channels, and any other.
//
//    images x pixels of one channel, cut into splits by the shape of one image
//    +---------+---------+---------+
//    | split 0 | split 1 | split 2 |     a block each; a thread keeps sums of the taps
//    +---------+---------+---------+
//         |         |         |
//         v         v         v
//    r x s sums, r x s sums, ...         in the workspace, none where there is one split
//         +---------+---------+
//                   |  ordered_sum.cuh, in the order of the splits
//                   v
//              r x s weights
//
// Input and grad are read about once where the window has a fixed size; any other kernel reads them
// once for each block of taps.
#include <type_traits>

#include "cuda/algorithms.h"
#include "cuda/depthwise/grad_weight.cuh"

namespace torchconv::cuda {
namespace {

bool applicable(Op op, const Conv2dShape& d) {
  return op == Op::kGradWeight && depthwise_applicable(op, d);
}

// Pixels of a split: enough work beside the adding of threads, and sums smaller than grad.
int64_t split_pixels(const Conv2dShape& d) {
  return larger(d.layout == Layout::kContiguous ? 8192 : 512, 2 * d.r * d.s);
}

// The last thing to be known of a task.
void set_sums(DepthwiseGradWeightTask& t, const Task& task) {
  t.sums = split_sums(task, ceil_div(t.units, t.units_per_split), TapOrder<false>(1, t.r, t.s));
}

template <class S, int Size, int Stride>
DepthwiseGradWeightTask window_task(const Task& task) {
  const Conv2dShape& d = task.shape;
  DepthwiseGradWeightTask t{};
  static_cast<DepthwiseTask&>(t) = depthwise_task(task);
  if (d.layout == Layout::kContiguous) {
    const PlaneTiles tiles = plane_tiles<S, Size, Stride>(d.p, d.q);
    t.stage = plane_stage(tiles);
    t.by_tiles = LongDivider(tiles.tiles_across * tiles.tiles_down);
    t.by_tiles_across = Divider(tiles.tiles_across);
    t.units = ceil_div(d.n, tiles.planes) * tiles.tiles_across * tiles.tiles_down;
    t.units_per_split =
        split_pixels(d) / (kDepthwiseThreads * Patch<Stride>::kRows * kPatchColumns);
  } else {
    t.lanes = power_of_two(d.c, 32);
    t.by_lanes = Divider(t.lanes);
    t.runs = (int)ceil_div(d.q, kRunOfGrad);
    t.by_runs = LongDivider(t.runs), t.by_height = LongDivider(d.p);
    t.units = d.n * d.p * t.runs;
    t.units_per_split = split_pixels(d) / kRunOfGrad;
  }
  set_sums(t, task);
  return t;
}

template <class S>
DepthwiseGradWeightTask any_task(const Task& task) {
  const Conv2dShape& d = task.shape;
  DepthwiseGradWeightTask t{};
  static_cast<DepthwiseTask&>(t) = depthwise_task(task);
  t.lanes = d.layout == Layout::kContiguous ? 1 : power_of_two(d.k, 32);
  t.by_lanes = Divider(t.lanes);
  t.units = d.n * d.p * d.q;
  t.units_per_split = split_pixels(d);
  t.tap_blocks = (int)ceil_div(d.r * d.s, kAnyTaps);
  t.by_tap_blocks = Divider(t.tap_blocks);
  t.by_multiplier = Divider(t.multiplier), t.by_kernel_width = Divider(d.s);
  t.by_width = LongDivider(d.q), t.by_height = LongDivider(d.p);
  set_sums(t, task);
  return t;
}

// f(task, launch of the first stage)
template <class S, int Size, int Stride, class F>
auto with_window(const Task& task, const F& f) {
  const DepthwiseGradWeightTask t = window_task<S, Size, Stride>(task);
  return f(t, [&](cudaStream_t stream) {
    const int splits = (int)t.sums.splits;
    if (task.shape.layout == Layout::kContiguous) {
      return launch<kDepthwiseThreads>(depthwise_planes_grad_weight_kernel<S, Size, Stride>,
                                       Index3{splits, (int)smaller(t.channels, 65535), 1}, stream,
                                       t);
    }
    return launch<kDepthwiseThreads>(depthwise_channels_grad_weight_kernel<S, Size, Stride>,
                                     Index3{splits, (int)ceil_div(t.channels, t.lanes), 1}, stream,
                                     t);
  });
}

template <class S, class F>
auto with_kernel(const Task& task, const F& f) {
  const Conv2dShape& d = task.shape;
  if (has_window(task.op, d, 3, 1)) return with_window<S, 3, 1>(task, f);
  if (has_window(task.op, d, 3, 2)) return with_window<S, 3, 2>(task, f);
  if (has_window(task.op, d, 5, 1)) return with_window<S, 5, 1>(task, f);
  if (has_window(task.op, d, 5, 2)) return with_window<S, 5, 2>(task, f);
  if (has_window(task.op, d, 7, 1)) return with_window<S, 7, 1>(task, f);
  const DepthwiseGradWeightTask t = any_task<S>(task);
  return f(t, [&](cudaStream_t stream) {
    const Index3 grid = {(int)(t.sums.splits * t.tap_blocks),
                         (int)smaller(ceil_div(t.channels, t.lanes), 65535), 1};
    return launch<kDepthwiseThreads>(depthwise_any_grad_weight_kernel<S>, grid, stream, t);
  });
}

int64_t workspace_bytes(Op op, const Conv2dShape& d) {
  Task task{};
  task.op = op;
  task.shape = d;
  int64_t splits = 0;
  dispatch_dtype(d.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    splits = with_kernel<S>(task, [](const auto& t, const auto&) { return t.sums.splits; });
    return cudaSuccess;
  });
  return split_sums_bytes(d, splits);
}

cudaError_t launch_depthwise_grad_weight(const Task& task, cudaStream_t stream) {
  return dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    return with_kernel<S>(task, [&](const DepthwiseGradWeightTask& t, const auto& launch_first) {
      const cudaError_t error = launch_first(stream);
      return error == cudaSuccess ? launch_ordered_sum<S>(t.sums, stream) : error;
    });
  });
}

const char* variant(Op op, const Conv2dShape& d) {
  if (has_window(op, d)) return d.layout == Layout::kContiguous ? "planes" : "channels";
  return any_variant(d, "any");
}

}  // namespace

const Algorithm kDepthwiseGradWeight = {
    "depthwise_grad_weight", "depthwise_grad_weight",      applicable,
    workspace_bytes,         launch_depthwise_grad_weight, variant};

}  // namespace torchconv::cuda

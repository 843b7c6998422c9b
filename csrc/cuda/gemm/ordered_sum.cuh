// Where a weight gradient goes. One split, all of a small layer, writes the result at once; of
// several each leaves its sums in the workspace, and a second kernel adds them in an order that
// depends on their number alone. Either way the sum is rounded once, and put where the weight has
// its strides.
#pragma once

#include "cuda/gemm/operands.cuh"
#include "cuda/task.h"

namespace torchconv::cuda {

template <bool ChannelsLast>
struct SplitSums {
  void* workspace;  // [splits, k, taps of a filter]
  void* result;
  int64_t weight_stride[4];
  int64_t splits, filters;
  int taps;
  TapOrder<ChannelsLast> order;

  template <class S>
  __device__ __forceinline__ void put_result(int64_t k, int index, Compute<S> sum) const {
    const Tap tap = order.at(index);
    const int64_t* const at = weight_stride;
    from_compute(
        (S*)result + k * at[0] + tap.channel * at[1] + tap.row * at[2] + tap.column * at[3], sum);
  }
  template <class S>
  __device__ __forceinline__ void put(int64_t split, int64_t k, int index, Compute<S> sum) const {
    if (splits == 1) return put_result<S>(k, index, sum);
    ((Compute<S>*)workspace)[(split * filters + k) * taps + index] = sum;
  }
};

template <bool ChannelsLast>
SplitSums<ChannelsLast> split_sums(const Task& task, int64_t splits,
                                   const TapOrder<ChannelsLast>& order) {
  SplitSums<ChannelsLast> sums = {task.workspace, task.result, {}, splits, task.shape.k, 0, order};
  for (int i = 0; i < 4; ++i) sums.weight_stride[i] = task.weight_stride[i];
  sums.taps = order.channels * order.rows * order.columns;
  return sums;
}

inline int64_t split_sums_bytes(const Conv2dShape& d, int64_t splits) {
  if (splits == 1) return 0;
  return splits * d.k * d.c_per_group() * d.r * d.s * (d.dtype == Dtype::kFloat64 ? 8 : 4);
}

// A block sums kReduceElements of the result, each of them by as many strands as fit into the block,
// a strand taking every so-manieth split; then the strands in order.
constexpr int kReduceThreads = 256, kReduceElements = 32;
constexpr int kStrands = kReduceThreads / kReduceElements;

template <class S, bool ChannelsLast>
__global__ __launch_bounds__(kReduceThreads) void ordered_sum_kernel(SplitSums<ChannelsLast> t,
                                                                     LongDivider by_filter) {
  using Sum = Compute<S>;
  struct Memory {
    Sum sums[kStrands][kReduceElements];
  };
  Memory& memory = shared_memory<Memory>();
  const int strand = thread_index() / kReduceElements, lane = thread_index() % kReduceElements;
  const int64_t element = (int64_t)block_index().x * kReduceElements + lane;
  const int64_t elements = t.filters * t.taps;
  Sum sum = 0;
  if (element < elements) {
    const Sum* const sums = (const Sum*)t.workspace + element;
    for (int64_t split = strand; split < t.splits; split += kStrands) sum += sums[split * elements];
  }
  memory.sums[strand][lane] = sum;
  sync_block();
  if (strand || element >= elements) return;
  for (int i = 1; i < kStrands; ++i) sum += memory.sums[i][lane];
  int64_t index;
  const int64_t k = by_filter.divide(element, index);
  t.template put_result<S>(k, (int)index, sum);
}

// The second stage, where there is one.
template <class S, bool ChannelsLast>
cudaError_t launch_ordered_sum(const SplitSums<ChannelsLast>& sums, cudaStream_t stream) {
  if (sums.splits == 1) return cudaSuccess;
  const Index3 grid = {(int)ceil_div(sums.filters * sums.taps, kReduceElements), 1, 1};
  return launch<kReduceThreads>(ordered_sum_kernel<S, ChannelsLast>, grid, stream, sums,
                                LongDivider(sums.taps));
}

}  // namespace torchconv::cuda

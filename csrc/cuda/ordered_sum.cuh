// The second stage of every weight gradient: adds the sums that the first has left in the workspace
// in an order that depends on their number alone, rounds once, and puts the result where the weight
// has its strides.
#pragma once

#include "cuda/general_operands.cuh"
#include "cuda/task.h"

namespace torchconv::cuda {

// Each block sums kReduceElements of the result, each of them by as many strands as fit
// into the block, a strand taking every so-manieth split; then the strands in order.
constexpr int kReduceThreads = 256, kReduceElements = 32;
constexpr int kStrands = kReduceThreads / kReduceElements;

struct OrderedSumTask {
  const void* sums;  // [splits, elements]
  void* result;
  int64_t splits, elements;
  int64_t weight_stride[4];
  LongDivider by_filter;  // taps of a filter
};

template <class S, bool ChannelsLast>
__global__ __launch_bounds__(kReduceThreads) void ordered_sum_kernel(OrderedSumTask t,
                                                                     TapOrder<ChannelsLast> order) {
  using Sum = Compute<S>;
  struct Memory {
    Sum sums[kStrands][kReduceElements];
  };
  Memory& memory = shared_memory<Memory>();
  const int strand = thread_index() / kReduceElements, lane = thread_index() % kReduceElements;
  const int64_t element = (int64_t)block_index().x * kReduceElements + lane;
  Sum sum = 0;
  if (element < t.elements) {
    const Sum* const sums = (const Sum*)t.sums + element;
    for (int64_t split = strand; split < t.splits; split += kStrands)
      sum += sums[split * t.elements];
  }
  memory.sums[strand][lane] = sum;
  sync_block();
  if (strand || element >= t.elements) return;
  for (int i = 1; i < kStrands; ++i) sum += memory.sums[i][lane];
  int64_t index;
  const int64_t k = t.by_filter.divide(element, index);
  const Tap tap = order.at((int)index);
  const int64_t* const at = t.weight_stride;
  from_compute(
      (S*)t.result + k * at[0] + tap.channel * at[1] + tap.row * at[2] + tap.column * at[3], sum);
}

// The workspace is [splits, k, taps of a filter].
template <class S, bool ChannelsLast>
cudaError_t launch_ordered_sum(const Task& task, int64_t splits,
                               const TapOrder<ChannelsLast>& order, cudaStream_t stream) {
  const int64_t taps = (int64_t)order.channels * order.rows * order.columns;
  OrderedSumTask sum = {task.workspace,      task.result, splits,
                        task.shape.k * taps, {},          LongDivider(taps)};
  for (int i = 0; i < 4; ++i) sum.weight_stride[i] = task.weight_stride[i];
  const Index3 grid = {(int)ceil_div(sum.elements, kReduceElements), 1, 1};
  return launch<kReduceThreads>(ordered_sum_kernel<S, ChannelsLast>, grid, stream, sum, order);
}

}  // namespace torchconv::cuda

// Depthwise with square kernels without gaps, channels in memory (channels_last). A thread computes
// kRunPixels neighbours in a row, of one vector of channels; the filters of the block's channels lie
// in shared memory, widened. Of a row of windows each vector is loaded once.
#pragma once

#include "cuda/depthwise/any.cuh"

namespace torchconv::cuda {

constexpr int kRunPixels = 4, kRunLanes = 16;

struct DepthwiseChannelsTask : DepthwiseTask {
  Window window;
  int lanes;  // vectors of channels side by side in a block
  int runs;   // in a row
  int64_t all_runs;
  Divider by_lanes;
  LongDivider by_runs, by_height;
};

template <class S, int Size, int Stride>
__global__ __launch_bounds__(kDepthwiseThreads,
                             3) void depthwise_channels_kernel(DepthwiseChannelsTask t) {
  using Sum = Compute<S>;
  constexpr int kChannels = Vector<S>::kSize, kColumns = (kRunPixels - 1) * Stride + Size;
  struct Memory {
    alignas(16) Sum filters[Size * Size][kRunLanes * kChannels];
  };
  Memory& memory = shared_memory<Memory>();
  int lane;
  const int strand = t.by_lanes.divide(thread_index(), lane), strands = kDepthwiseThreads / t.lanes;
  const int first_channel = block_index().y * t.lanes * kChannels;
  const int channel = first_channel + lane * kChannels;
  for (int i = thread_index(); i < Size * Size * kRunLanes * kChannels; i += kDepthwiseThreads) {
    const int c = i % (kRunLanes * kChannels), tap = i / (kRunLanes * kChannels);
    const int64_t offset =
        t.window.first_tap + tap / Size * t.window.tap_row + tap % Size * t.window.tap_column;
    memory.filters[tap][c] =
        c < t.lanes * kChannels && first_channel + c < t.channels
            ? to_compute(((const S*)t.weight)[(first_channel + c) * t.weight_k + offset])
            : Sum(0);
  }
  sync_block();

  const int64_t run = (int64_t)block_index().x * strands + strand;
  if (run >= t.all_runs || channel >= t.channels) return;
  int64_t row, index;
  const int64_t image = t.by_height.divide(t.by_runs.divide(run, index), row);
  const int column = (int)index * kRunPixels;
  const int top = (int)row * Stride + t.window.origin_h, left = column * Stride + t.window.origin_w;
  const S* const source = (const S*)t.source + image * t.source_at.image + channel;
  Sum sums[kRunPixels][kChannels] = {};
#pragma unroll
  for (int r = 0; r < Size; ++r) {
    const int y = top + r;
    if ((unsigned)y >= (unsigned)t.source_height) continue;
    Sum line[kColumns][kChannels];
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      const int x = left + i;
      S v[kChannels] = {};
      if ((unsigned)x < (unsigned)t.source_width)
        load_channels(v, source + y * t.source_at.row + x * t.source_at.column);
#pragma unroll
      for (int c = 0; c < kChannels; ++c) line[i][c] = to_compute(v[c]);
    }
#pragma unroll
    for (int s = 0; s < Size; ++s) {
      const Sum* const w = memory.filters[r * Size + s] + lane * kChannels;
#pragma unroll
      for (int c = 0; c < kChannels; ++c) {
#pragma unroll
        for (int j = 0; j < kRunPixels; ++j)
          sums[j][c] = fused(w[c], line[j * Stride + s][c], sums[j][c]);
      }
    }
  }
  S* const to = (S*)t.result + image * t.pixels_at.image + row * t.pixels_at.row +
                column * t.pixels_at.column + channel;
#pragma unroll
  for (int j = 0; j < kRunPixels; ++j) {
    if (column + j >= t.width) break;
    S result[kChannels];
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      if (t.bias) sums[j][c] += to_compute(((const S*)t.bias)[channel + c]);
      from_compute(&result[c], sums[j][c]);
    }
    store_channels(to + j * t.pixels_at.column, result);
  }
}

template <class S, int Size, int Stride>
cudaError_t launch_depthwise_channels(const Task& task, cudaStream_t stream) {
  DepthwiseChannelsTask t;
  static_cast<DepthwiseTask&>(t) = depthwise_task(task);
  const int64_t vectors = t.channels / Vector<S>::kSize;
  t.window = window_of(t);
  t.lanes = power_of_two(vectors, kRunLanes);
  t.runs = (int)ceil_div(t.width, kRunPixels);
  t.all_runs = t.images * t.height * t.runs;
  t.by_lanes = Divider(t.lanes);
  t.by_runs = LongDivider(t.runs), t.by_height = LongDivider(t.height);
  const Index3 grid = {(int)ceil_div(t.all_runs, kDepthwiseThreads / t.lanes),
                       (int)ceil_div(vectors, t.lanes), 1};
  return launch<kDepthwiseThreads>(depthwise_channels_kernel<S, Size, Stride>, grid, stream, t);
}

// Vectors of channels.
inline bool channel_vectors(const Conv2dShape& d) {
  return d.layout == Layout::kChannelsLast && d.k == d.c && d.c % (16 / size_of(d.dtype)) == 0;
}
// And aligned.
inline bool channel_vectors(const Task& task) {
  return channel_vectors(task.shape) && aligned(task.op == Op::kForward ? task.input : task.grad) &&
         aligned(task.result);
}

}  // namespace torchconv::cuda

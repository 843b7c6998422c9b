// The convolution as its definition reads, one thread per element of the result, sums in the order
// in which the indices are written. Slow, takes every shape: last in the list, and what the others
// can be compared with.
#pragma once

#include "cuda/device/index_math.h"
#include "cuda/task.h"

namespace torchconv::cuda {

constexpr int kReferenceThreads = 128;

struct ReferenceTask {
  Task task;
  Strides x, y;  // of an image and of an output
  int64_t elements;
  int64_t channels, filters;                  // per group
  LongDivider by_first, by_second, by_third;  // of the result's sizes, the innermost first
  LongDivider by_group;                       // channels of the result per group
  LongDivider by_stride_h, by_stride_w;
};

// The element at (row, column) of a plane, or zero outside.
template <class S>
__device__ __forceinline__ Compute<S> read_padded(const S* plane, const Strides& at, int64_t row,
                                                  int64_t column, int64_t height, int64_t width) {
  if (row < 0 || row >= height || column < 0 || column >= width) return 0;
  return to_compute(plane[row * at.row + column * at.column]);
}

template <class S>
__device__ Compute<S> reference_forward(const ReferenceTask& t, int64_t n, int64_t k, int64_t p,
                                        int64_t q) {
  const Conv2dShape& d = t.task.shape;
  const int64_t* const at = t.task.weight_stride;
  int64_t in_group;
  const int64_t group = t.by_group.divide(k, in_group), channels = t.channels;
  Compute<S> sum = 0;
  for (int64_t c = 0; c < channels; ++c) {
    const S* plane = (const S*)t.task.input + n * t.x.image + (group * channels + c) * t.x.channel;
    for (int64_t r = 0; r < d.r; ++r) {
      for (int64_t s = 0; s < d.s; ++s) {
        const S w = ((const S*)t.task.weight)[k * at[0] + c * at[1] + r * at[2] + s * at[3]];
        sum = fused(to_compute(w),
                    read_padded(plane, t.x, p * d.stride_h - d.pad_top + r * d.dilation_h,
                                q * d.stride_w - d.pad_left + s * d.dilation_w, d.h, d.w),
                    sum);
      }
    }
  }
  return t.task.bias ? sum + to_compute(((const S*)t.task.bias)[k]) : sum;
}

template <class S>
__device__ Compute<S> reference_grad_input(const ReferenceTask& t, int64_t n, int64_t c, int64_t h,
                                           int64_t w) {
  const Conv2dShape& d = t.task.shape;
  const int64_t* const at = t.task.weight_stride;
  int64_t in_group;
  const int64_t group = t.by_group.divide(c, in_group), filters = t.filters;
  Compute<S> sum = 0;
  for (int64_t k = group * filters; k < (group + 1) * filters; ++k) {
    const S* plane = (const S*)t.task.grad + n * t.y.image + k * t.y.channel;
    for (int64_t r = 0; r < d.r; ++r) {
      const int64_t above = h + d.pad_top - r * d.dilation_h;
      int64_t rest_h, rest_w;
      if (above < 0) break;
      const int64_t p = t.by_stride_h.divide(above, rest_h);
      if (rest_h) continue;
      for (int64_t s = 0; s < d.s; ++s) {
        const int64_t left = w + d.pad_left - s * d.dilation_w;
        if (left < 0) break;
        const int64_t q = t.by_stride_w.divide(left, rest_w);
        if (rest_w) continue;
        const S v = ((const S*)t.task.weight)[k * at[0] + in_group * at[1] + r * at[2] + s * at[3]];
        sum = fused(to_compute(v), read_padded(plane, t.y, p, q, d.p, d.q), sum);
      }
    }
  }
  return sum;
}

template <class S>
__device__ Compute<S> reference_grad_weight(const ReferenceTask& t, int64_t k, int64_t c, int64_t r,
                                            int64_t s) {
  const Conv2dShape& d = t.task.shape;
  int64_t in_group;
  const int64_t channel = t.by_group.divide(k, in_group) * t.channels + c;
  Compute<S> sum = 0;
  for (int64_t n = 0; n < d.n; ++n) {
    const S* plane = (const S*)t.task.input + n * t.x.image + channel * t.x.channel;
    const S* grad = (const S*)t.task.grad + n * t.y.image + k * t.y.channel;
    for (int64_t p = 0; p < d.p; ++p) {
      for (int64_t q = 0; q < d.q; ++q) {
        sum = fused(to_compute(grad[p * t.y.row + q * t.y.column]),
                    read_padded(plane, t.x, p * d.stride_h - d.pad_top + r * d.dilation_h,
                                q * d.stride_w - d.pad_left + s * d.dilation_w, d.h, d.w),
                    sum);
      }
    }
  }
  return sum;
}

template <class S, Op op>
__global__ __launch_bounds__(kReferenceThreads, 4) void reference_kernel(ReferenceTask t) {
  const int64_t step = (int64_t)grid_size().x * kReferenceThreads;
  for (int64_t i = (int64_t)block_index().x * kReferenceThreads + thread_index(); i < t.elements;
       i += step) {
    int64_t a, b, c, d;
    a = t.by_third.divide(t.by_second.divide(t.by_first.divide(i, d), c), b);
    S* const result = (S*)t.task.result;
    if (op == Op::kForward) {
      from_compute(result + a * t.y.image + b * t.y.channel + c * t.y.row + d * t.y.column,
                   reference_forward<S>(t, a, b, c, d));
    } else if (op == Op::kGradInput) {
      from_compute(result + a * t.x.image + b * t.x.channel + c * t.x.row + d * t.x.column,
                   reference_grad_input<S>(t, a, b, c, d));
    } else {
      const int64_t* const at = t.task.weight_stride;
      from_compute(result + a * at[0] + b * at[1] + c * at[2] + d * at[3],
                   reference_grad_weight<S>(t, a, b, c, d));
    }
  }
}

inline ReferenceTask reference_task(const Task& task) {
  const Conv2dShape& d = task.shape;
  const int64_t sizes[3][4] = {
      {d.n, d.k, d.p, d.q}, {d.n, d.c, d.h, d.w}, {d.k, d.c_per_group(), d.r, d.s}};
  const int64_t* const size = sizes[(int)task.op];
  ReferenceTask t;
  t.task = task;
  t.x = input_strides(d), t.y = output_strides(d);
  t.elements = size[0] * size[1] * size[2] * size[3];
  t.channels = d.c_per_group(), t.filters = d.k_per_group();
  t.by_first = LongDivider(size[3]), t.by_second = LongDivider(size[2]);
  t.by_third = LongDivider(size[1]);
  t.by_group = LongDivider(task.op == Op::kGradInput ? t.channels : t.filters);
  t.by_stride_h = LongDivider(d.stride_h), t.by_stride_w = LongDivider(d.stride_w);
  return t;
}

template <class S>
cudaError_t run_reference(const Task& task, cudaStream_t stream) {
  const ReferenceTask t = reference_task(task);
  const Index3 grid = {(int)smaller(ceil_div(t.elements, kReferenceThreads), 1 << 20), 1, 1};
  switch (task.op) {
    case Op::kForward:
      return launch<kReferenceThreads>(reference_kernel<S, Op::kForward>, grid, stream, t);
    case Op::kGradInput:
      return launch<kReferenceThreads>(reference_kernel<S, Op::kGradInput>, grid, stream, t);
    default:
      return launch<kReferenceThreads>(reference_kernel<S, Op::kGradWeight>, grid, stream, t);
  }
}

}  // namespace torchconv::cuda

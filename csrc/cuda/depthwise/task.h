// What the depthwise kernels are told: one input channel per group, `multiplier` filters for it.
// forward and grad_input gather from `source` (input, or grad) and produce `result`.
#pragma once

#include "cuda/gemm/plan.h"

namespace torchconv::cuda {

constexpr int kDepthwiseThreads = 128;

struct DepthwiseTask {
  Op op;
  const void *source, *weight, *bias, *grad;
  void* result;
  int64_t images;
  int channels, multiplier;  // channels of the result, or of grad
  int source_height, source_width, height, width;
  Strides source_at, pixels_at;  // pixels_at: of the tensor with channels, height and width
  int r, s, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w;
  int64_t weight_k, weight_r, weight_s;
  int common_h, common_w, phases_h, phases_w;
};

inline bool depthwise_applicable(Op op, const Conv2dShape& d) {
  return d.groups == d.c && general_applicable(op, d);
}

inline DepthwiseTask depthwise_task(const Task& task) {
  const Conv2dShape& d = task.shape;
  const bool to_input = task.op == Op::kGradInput;
  DepthwiseTask t{};
  t.op = task.op;
  t.source = to_input ? task.grad : task.input;
  t.weight = task.weight, t.bias = task.bias, t.grad = task.grad;
  t.result = task.result;
  t.images = d.n;
  t.channels = (int)(to_input ? d.c : d.k), t.multiplier = (int)d.k_per_group();
  t.source_height = (int)(to_input ? d.p : d.h), t.source_width = (int)(to_input ? d.q : d.w);
  t.height = (int)(to_input ? d.h : d.p), t.width = (int)(to_input ? d.w : d.q);
  t.source_at = to_input ? output_strides(d) : input_strides(d);
  t.pixels_at = to_input ? input_strides(d) : output_strides(d);
  t.r = (int)d.r, t.s = (int)d.s;
  t.stride_h = stride_within_reach(d.stride_h), t.stride_w = stride_within_reach(d.stride_w);
  t.pad_top = (int)d.pad_top, t.pad_left = (int)d.pad_left;
  t.dilation_h = (int)d.dilation_h, t.dilation_w = (int)d.dilation_w;
  t.weight_k = task.weight_stride[0];
  t.weight_r = task.weight_stride[2], t.weight_s = task.weight_stride[3];
  t.common_h = greatest_common_divisor(t.stride_h, d.dilation_h);
  t.common_w = greatest_common_divisor(t.stride_w, d.dilation_w);
  t.phases_h = (int)(to_input ? smaller(d.stride_h, d.h) : 1);
  t.phases_w = (int)(to_input ? smaller(d.stride_w, d.w) : 1);
  return t;
}

// Square kernels without gaps that have a kernel of their own, forward at both strides and
// grad_input at stride one, where it is a forward with the filter turned around.
inline bool has_window(Op op, const Conv2dShape& d, int size, int stride) {
  if (op == Op::kGradInput && stride != 1) return false;
  return d.k == d.c && d.c < (1 << 16) && d.r == size && d.s == size && d.dilation_h == 1 &&
         d.dilation_w == 1 && d.stride_h == stride && d.stride_w == stride;
}

// Whether it has one of any size.
inline bool has_window(Op op, const Conv2dShape& d) {
  return has_window(op, d, 3, 1) || has_window(op, d, 3, 2) || has_window(op, d, 5, 1) ||
         has_window(op, d, 5, 2) || has_window(op, d, 7, 1);
}

// How an acceptance names the kernel for any geometry: a dense layer of one channel and several
// filters for one are other layers to PyTorch.
inline const char* any_variant(const Conv2dShape& d, const char* otherwise) {
  return d.c == 1 ? "one_channel" : d.k != d.c ? "multiplier" : otherwise;
}

// How such a kernel sees a task: source = origin + pixel * stride + tap.
struct Window {
  int origin_h, origin_w;
  int64_t first_tap, tap_row, tap_column;  // offsets in the weight
};

inline Window window_of(const DepthwiseTask& t) {
  if (t.op != Op::kGradInput) return {-t.pad_top, -t.pad_left, 0, t.weight_r, t.weight_s};
  return {t.pad_top - (t.r - 1), t.pad_left - (t.s - 1),
          (t.r - 1) * t.weight_r + (t.s - 1) * t.weight_s, -t.weight_r, -t.weight_s};
}

// The smallest power of two that is at least x, at most `most`.
inline int power_of_two(int64_t x, int most) {
  int power = 1;
  while (power < x && power < most) power *= 2;
  return power;
}

}  // namespace torchconv::cuda

// The convolution as its definition reads, one output element at a time. Slow, takes every shape,
// and last in the list of algorithms. Forward and input gradient are one chain of fused
// multiply-adds per element in the order of channel_block, padding multiplied as zeros: the bits
// every other algorithm must give.
#include "cpu/algorithms.h"
#include "cpu/common/gather.h"
#include "cpu/simd/scalar.h"

namespace torchconv::cpu {
namespace {

template <class S>
Compute<S> read(const S* image, const Strides& at, int64_t channel, int64_t row, int64_t column,
                int64_t height, int64_t width) {
  if (row < 0 || row >= height || column < 0 || column >= width) return 0;
  return to_compute(image[channel * at.channel + row * at.row + column * at.column]);
}

// -0 becomes +0: see common/register_tile.h.
template <class T>
T without_sign_of_zero(T sum) {
  return sum + 0;
}

// f(c, r, s) for every step of a sum.
template <class F>
void in_order(Op op, const Conv2dShape& shape, const F& f) {
  const int64_t channels = op == Op::kForward ? shape.c_per_group() : shape.k_per_group();
  const int64_t block = channel_block(op, shape);
  for (int64_t begin = 0; begin < channels; begin += block) {
    for (int64_t r = 0; r < shape.r; ++r) {
      for (int64_t s = 0; s < shape.s; ++s) {
        for (int64_t c = begin; c < begin + block; ++c) f(c, r, s);
      }
    }
  }
}

// One job: one row of one output channel of one image.
template <class S>
void forward_row(const Task& task, int64_t job) {
  const Conv2dShape& shape = task.shape;
  const int64_t p = job % shape.p, k = job / shape.p % shape.k, n = job / shape.p / shape.k;
  const int64_t group = k / shape.k_per_group();
  const Strides x = input_strides(shape), y = output_strides(shape);
  const S* image = (const S*)task.input + n * x.image;
  const S* weight = (const S*)task.weight + k * task.weight_stride[0];
  for (int64_t q = 0; q < shape.q; ++q) {
    Compute<S> sum = 0;
    in_order(Op::kForward, shape, [&](int64_t c, int64_t r, int64_t s) {
      const int64_t row = p * shape.stride_h - shape.pad_top + r * shape.dilation_h;
      const int64_t column = q * shape.stride_w - shape.pad_left + s * shape.dilation_w;
      const S w =
          weight[c * task.weight_stride[1] + r * task.weight_stride[2] + s * task.weight_stride[3]];
      sum = fused(to_compute(w),
                  read(image, x, group * shape.c_per_group() + c, row, column, shape.h, shape.w),
                  sum);
    });
    sum = without_sign_of_zero(sum);
    if (task.bias) sum += to_compute(((const S*)task.bias)[k]);
    from_compute((S*)task.result + n * y.image + k * y.channel + p * y.row + q * y.column, sum);
  }
}

// One job: one row of one input channel of one image.
template <class S>
void grad_input_row(const Task& task, int64_t job) {
  const Conv2dShape& shape = task.shape;
  const int64_t h = job % shape.h, c = job / shape.h % shape.c, n = job / shape.h / shape.c;
  const int64_t group = c / shape.c_per_group();
  const Strides x = input_strides(shape), y = output_strides(shape);
  const S* image = (const S*)task.grad + n * y.image;
  const S* weight = (const S*)task.weight + c % shape.c_per_group() * task.weight_stride[1];
  for (int64_t w = 0; w < shape.w; ++w) {
    Compute<S> sum = 0;
    in_order(Op::kGradInput, shape, [&](int64_t i, int64_t r, int64_t s) {
      const int64_t k = group * shape.k_per_group() + i;
      const int64_t row = h + shape.pad_top - r * shape.dilation_h;
      const int64_t column = w + shape.pad_left - s * shape.dilation_w;
      if (row % shape.stride_h || column % shape.stride_w) return;
      const S at =
          weight[k * task.weight_stride[0] + r * task.weight_stride[2] + s * task.weight_stride[3]];
      sum = fused(
          to_compute(at),
          read(image, y, k, row / shape.stride_h, column / shape.stride_w, shape.p, shape.q), sum);
    });
    from_compute((S*)task.result + n * x.image + c * x.channel + h * x.row + w * x.column,
                 without_sign_of_zero(sum));
  }
}

// One job: the weight of one pair of an output and an input channel.
template <class S>
void grad_weight_pair(const Task& task, int64_t job) {
  const Conv2dShape& shape = task.shape;
  const int64_t c = job % shape.c_per_group(), k = job / shape.c_per_group();
  const int64_t channel = k / shape.k_per_group() * shape.c_per_group() + c;
  const Strides x = input_strides(shape), y = output_strides(shape);
  for (int64_t r = 0; r < shape.r; ++r) {
    for (int64_t s = 0; s < shape.s; ++s) {
      Compute<S> sum = 0;
      for (int64_t n = 0; n < shape.n; ++n) {
        const S* image = (const S*)task.input + n * x.image;
        const S* grad = (const S*)task.grad + n * y.image + k * y.channel;
        for (int64_t p = 0; p < shape.p; ++p) {
          for (int64_t q = 0; q < shape.q; ++q) {
            const int64_t row = p * shape.stride_h - shape.pad_top + r * shape.dilation_h;
            const int64_t column = q * shape.stride_w - shape.pad_left + s * shape.dilation_w;
            sum = fused(to_compute(grad[p * y.row + q * y.column]),
                        read(image, x, channel, row, column, shape.h, shape.w), sum);
          }
        }
      }
      from_compute((S*)task.result + k * task.weight_stride[0] + c * task.weight_stride[1] +
                       r * task.weight_stride[2] + s * task.weight_stride[3],
                   without_sign_of_zero(sum));
    }
  }
}

const char* make_plan(Op op, const Conv2dShape& shape, Plan& plan) {
  plan.jobs[0] = op == Op::kForward     ? shape.n * shape.k * shape.p
                 : op == Op::kGradInput ? shape.n * shape.c * shape.h
                                        : shape.k * shape.c_per_group();
  return nullptr;
}

void run(const Task& task, const Job& job) {
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    if (task.op == Op::kForward) return forward_row<S>(task, job.index);
    if (task.op == Op::kGradInput) return grad_input_row<S>(task, job.index);
    return grad_weight_pair<S>(task, job.index);
  });
}

}  // namespace

const Algorithm kReference = {"reference", make_plan, {run, run, run}};

}  // namespace torchconv::cpu

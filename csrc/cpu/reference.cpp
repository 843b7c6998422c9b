// The convolution as its definition reads, one output element at a time. Slow, takes every shape,
// and last in the list of algorithms. Forward and input gradient are partial sums, each a chain of
// fused multiply-adds in the order of SumOrder, padding multiplied as what it is: the bits that every
// other direct algorithm must give.
#include "cpu/algorithms.h"
#include "cpu/common/activate.h"
#include "cpu/common/gather.h"
#include "cpu/simd/portable.h"

namespace torchconv::cpu {
namespace {

template <class S>
Compute<S> read(const S* image, const Strides& at, int64_t channel, int64_t row, int64_t column,
                int64_t height, int64_t width) {
  if (row < 0 || row >= height || column < 0 || column >= width) return 0;
  return to_compute(image[channel * at.channel + row * at.row + column * at.column]);
}

// The same of the input or its padding.
template <class S>
Compute<S> read_input(const S* image, const Conv2dShape& shape, int64_t channel, int64_t row,
                      int64_t column) {
  const Margins around = margins(shape);
  return read(image, input_strides(shape), channel, around.row(row, shape.h),
              around.column(column, shape.w), shape.h, shape.w);
}

// -0 becomes +0: see common/register_tile.h.
template <class T>
T without_sign_of_zero(T sum) {
  return sum + 0;
}

// The sum of term(c, r, s, sum), which returns `sum` with one more product, for every step: in partial
// sums, `taps` being the taps that see anything but the gaps of a stride.
template <class T, class F>
T in_order(Op op, const Conv2dShape& shape, int64_t taps, const F& term) {
  const SumOrder order(op, shape);
  const int64_t partial = order.partial(taps), block = order.c_block;
  T total = 0, sum = 0;
  int64_t summed = 0;  // blocks, or products
  const auto count = [&] {
    if (++summed % partial == 0) total += sum, sum = 0;
  };
  for (int64_t begin = 0; begin < order.channels; begin += block) {
    for (int64_t r = 0; r < shape.r; ++r) {
      for (int64_t s = 0; s < shape.s; ++s) {
        for (int64_t c = begin; c < begin + block; ++c) {
          sum = term(c, r, s, sum);
          if (order.by_products) count();
        }
      }
    }
    if (!order.by_products) count();
  }
  return total + sum;
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
    const auto term = [&](int64_t c, int64_t r, int64_t s, Compute<S> sum) {
      const int64_t row = p * shape.stride_h - shape.pad_top + r * shape.dilation_h;
      const int64_t column = q * shape.stride_w - shape.pad_left + s * shape.dilation_w;
      const S w =
          weight[c * task.weight_stride[1] + r * task.weight_stride[2] + s * task.weight_stride[3]];
      return fused(to_compute(w),
                   read_input(image, shape, group * shape.c_per_group() + c, row, column), sum);
    };
    Compute<S> sum = in_order<Compute<S>>(Op::kForward, shape, shape.r * shape.s, term);
    if (task.bias) sum += to_compute(((const S*)task.bias)[k]);
    from_compute((S*)task.result + n * y.image + k * y.channel + p * y.row + q * y.column, sum);
  }
  S* const row = (S*)task.result + n * y.image + k * y.channel + p * y.row;
  if (task.activates()) activate(task, row, shape.q, y.column, 1);
}

// Kernel elements that read a pixel of grad rather than between two.
int64_t taps_of_phase(int64_t kernel, int64_t at, int64_t stride, int64_t dilation) {
  int64_t taps = 0;
  for (int64_t i = 0; i < kernel; ++i) taps += (at - i * dilation) % stride == 0;
  return taps;
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
    const int64_t taps =
        taps_of_phase(shape.r, h + shape.pad_top, shape.stride_h, shape.dilation_h) *
        taps_of_phase(shape.s, w + shape.pad_left, shape.stride_w, shape.dilation_w);
    const auto term = [&](int64_t i, int64_t r, int64_t s, Compute<S> sum) {
      const int64_t k = group * shape.k_per_group() + i;
      const int64_t row = h + shape.pad_top - r * shape.dilation_h;
      const int64_t column = w + shape.pad_left - s * shape.dilation_w;
      if (row % shape.stride_h || column % shape.stride_w) return sum;
      const S at =
          weight[k * task.weight_stride[0] + r * task.weight_stride[2] + s * task.weight_stride[3]];
      return fused(
          to_compute(at),
          read(image, y, k, row / shape.stride_h, column / shape.stride_w, shape.p, shape.q), sum);
    };
    from_compute((S*)task.result + n * x.image + c * x.channel + h * x.row + w * x.column,
                 in_order<Compute<S>>(Op::kGradInput, shape, taps, term));
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
                        read_input(image, shape, channel, row, column), sum);
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

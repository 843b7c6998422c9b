// Convolutions of integers without a patch: map after map for few channels of a group and for padding that reaches
// so far that no patch has room for it; and depthwise layers in channels_last, whose channels fill vectors.
#pragma once

#include "cpu/integer/plan.h"

namespace torchconv::cpu {
namespace {

constexpr int64_t kIntegerColumns = 256, kIntegerBlock = 32;

// sums[i] += in[i * step] * weight
template <class In>
void add_products(const In* __restrict__ in, int64_t step, int64_t count, int32_t weight,
                  uint32_t* __restrict__ sums) {
  if (step == 1) {
    for (int64_t i = 0; i < count; ++i) sums[i] += (uint32_t)(in[i] * weight);
    return;
  }
  for (int64_t i = 0; i < count; ++i) sums[i] += (uint32_t)(in[i * step] * weight);
}

// One output channel of one image.
template <class In>
struct IntegerMap {
  const Task& task;
  const Gather& gather;
  int64_t n, k;

  Strides strides(int64_t channels, const Axis& rows, const Axis& columns, bool source) const {
    return dense(gather.layout, gather.groups * channels, source ? rows.src_size : rows.dst_size,
                 source ? columns.src_size : columns.dst_size);
  }

  void add_row(const In* row, int64_t column, int64_t first, int64_t count, const int8_t* weight,
               uint32_t* sums) const {
    const Axis& axis = gather.columns;
    for (int64_t s = 0; s < axis.kernel; ++s) {
      const int64_t at = first * axis.src_step - axis.padding + s * axis.dilation;
      const Range real = inside(at, axis.src_step, count, axis.src_size);
      if (real.begin == real.end) continue;
      add_products(row + (at + real.begin * axis.src_step) * column, axis.src_step * column,
                   real.end - real.begin, (int32_t)weight[s * task.weight_stride[3]],
                   sums + real.begin);
    }
  }

  void run() const {
    const Axis &rows = gather.rows, &columns = gather.columns;
    const Strides from = strides(gather.src_channels, rows, columns, true);
    const Strides to = strides(gather.dst_channels, rows, columns, false);
    const int64_t group = k / gather.dst_channels;
    const In* const image =
        (const In*)task.input + n * from.image + group * gather.src_channels * from.channel;
    const int8_t* const filter = (const int8_t*)task.weight + k * task.weight_stride[0];
    const uint32_t start = task.bias ? (uint32_t)((const int32_t*)task.bias)[k] : 0;
    int32_t* const result = (int32_t*)task.result + n * to.image + k * to.channel;
    for (int64_t p = 0; p < rows.dst_size; ++p) {
      int64_t r_begin, r_end;
      inner_taps(rows, rows.phase(0), p, p, r_begin, r_end);
      for (int64_t q = 0; q < columns.dst_size; q += kIntegerColumns) {
        const int64_t count = smaller(kIntegerColumns, columns.dst_size - q);
        uint32_t sums[kIntegerColumns];
        for (int64_t i = 0; i < count; ++i) sums[i] = start;
        for (int64_t c = 0; c < gather.src_channels; ++c) {
          for (int64_t r = r_begin; r < r_end; ++r) {
            const int64_t y = p * rows.src_step - rows.padding + r * rows.dilation;
            add_row(image + c * from.channel + y * from.row, from.column, q, count,
                    filter + c * task.weight_stride[1] + r * task.weight_stride[2], sums);
          }
        }
        int32_t* const out = result + p * to.row + q * to.column;
        for (int64_t i = 0; i < count; ++i) out[i * to.column] = (int32_t)sums[i];
      }
    }
  }
};

// One row of pixels, whose channels have a filter each.
template <class In>
void depthwise_row(const Task& task, const IntegerPlan& plan, int64_t n, int64_t p,
                   const int16_t* weights) {
  const Axis &rows = plan.gather.rows, &columns = plan.gather.columns;
  const int64_t channels = plan.gather.groups;
  int64_t r_begin, r_end, s_begin, s_end;
  inner_taps(rows, rows.phase(0), p, p, r_begin, r_end);
  const In* const image = (const In*)task.input + n * rows.src_size * columns.src_size * channels;
  int32_t* out = (int32_t*)task.result + (n * rows.dst_size + p) * columns.dst_size * channels;
  for (int64_t q = 0; q < columns.dst_size; ++q, out += channels) {
    inner_taps(columns, columns.phase(0), q, q, s_begin, s_end);
    const auto add_taps = [&](int64_t first, auto count, uint32_t* sums) {
      for (int64_t r = r_begin; r < r_end; ++r) {
        const int64_t y = p * rows.src_step - rows.padding + r * rows.dilation;
        for (int64_t s = s_begin; s < s_end; ++s) {
          const int64_t x = q * columns.src_step - columns.padding + s * columns.dilation;
          const In* const in = image + (y * columns.src_size + x) * channels + first;
          const int16_t* const weight = weights + (r * columns.kernel + s) * channels + first;
          for (int64_t i = 0; i < count; ++i) sums[i] += (uint32_t)(in[i] * weight[i]);
        }
      }
    };
    for (int64_t first = 0; first < channels; first += kIntegerBlock) {
      const int64_t count = smaller(kIntegerBlock, channels - first);
      uint32_t sums[kIntegerBlock] = {};
      if (count == kIntegerBlock) {
        add_taps(first, std::integral_constant<int64_t, kIntegerBlock>(), sums);
      } else {
        add_taps(first, count, sums);
      }
      const int32_t* const bias = task.bias ? (const int32_t*)task.bias + first : nullptr;
      for (int64_t i = 0; i < count; ++i) {
        out[first + i] = (int32_t)(sums[i] + (bias ? (uint32_t)bias[i] : 0));
      }
    }
  }
}

inline void pack_depthwise_integers(const Task& task, const Gather& gather, int16_t* out) {
  const int64_t* const stride = task.weight_stride;
  for (int64_t r = 0; r < gather.rows.kernel; ++r) {
    for (int64_t s = 0; s < gather.columns.kernel; ++s) {
      for (int64_t k = 0; k < gather.groups; ++k) {
        *out++ = ((const int8_t*)task.weight)[k * stride[0] + r * stride[2] + s * stride[3]];
      }
    }
  }
}

template <class In>
void integer_maps(const Task& task, const IntegerPlan& plan, const Job& job) {
  const Gather& gather = plan.gather;
  if (plan.way == IntegerPlan::Way::kDepthwise) {
    int16_t* const weights = (int16_t*)job.shared;
    if (job.stage == 0) return pack_depthwise_integers(task, gather, weights);
    const int64_t rows = gather.rows.dst_size;
    return depthwise_row<In>(task, plan, job.index / rows, job.index % rows, weights);
  }
  const int64_t channels = gather.groups * gather.dst_channels, all = gather.n * channels;
  const int64_t end = smaller(all, (job.index + 1) * plan.maps);
  for (int64_t i = job.index * plan.maps; i < end; ++i) {
    IntegerMap<In>{task, gather, i / channels, i % channels}.run();
  }
}

}  // namespace
}  // namespace torchconv::cpu

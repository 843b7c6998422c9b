// Convolutions of integers map after map, as they lie: for padding that reaches so far that no patch has room for
// it, and where there are no channels.
#pragma once

#include "cpu/integer/plan.h"

namespace torchconv::cpu {
namespace {

constexpr int64_t kIntegerColumns = 256;

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

template <class In>
void integer_maps(const Task& task, const IntegerPlan& plan, const Job& job) {
  const Gather& gather = plan.gather;
  const int64_t channels = gather.groups * gather.dst_channels, all = gather.n * channels;
  const int64_t end = smaller(all, (job.index + 1) * plan.maps);
  for (int64_t i = job.index * plan.maps; i < end; ++i) {
    IntegerMap<In>{task, gather, i / channels, i % channels}.run();
  }
}

}  // namespace
}  // namespace torchconv::cpu

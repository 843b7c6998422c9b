// The store stage of dense_pixels: sums of the flat axis to both layouts and all types.
#pragma once

#include "cpu/common/copy.h"
#include "cpu/dense_pixels/plan.h"

namespace torchconv::cpu {
namespace {

// `count` channels of a job's sums, of one phase, go to their places in the result.
template <template <class, class> class Job, class S, class A>
void store_pixels(const Job<S, A>& job, const Compute<S>* sums, int64_t channel, int64_t count,
                  const AxisPhase& rows, const AxisPhase& columns) {
  const Gather& gather = job.gather;
  const PixelPlan& plan = job.plan;
  const int64_t height = gather.rows.dst_size, width = gather.columns.dst_size;
  const int64_t channels = gather.groups * gather.dst_channels;
  const int64_t row_step = gather.rows.dst_step, step = gather.columns.dst_step;
  const int64_t row_count = smaller(job.rows, rows.size - job.row_begin);
  const int64_t column_count = smaller(job.columns, columns.size - job.column_begin);
  if (row_count <= 0 || column_count <= 0) return;
  // Rows that follow each other without a gap are one row.
  const int64_t pitch = plan.planes.pitch;
  const bool joined = row_step == 1 && step == 1 && pitch == width && column_count == width;
  const int64_t spans = joined ? 1 : row_count;
  const int64_t length = joined ? row_count * width : column_count;
  const int64_t at = (rows.dst_first + job.row_begin * row_step) * width + columns.dst_first +
                     job.column_begin * step;
  for (int64_t n = 0; n < job.images; ++n) {
    S* const image = (S*)job.task.result + (job.image_begin + n) * channels * height * width;
    const Compute<S>* const from = sums + n * plan.sums.image_pitch;
    if (gather.layout == Layout::kChannelsLast) {
      for (int64_t i = 0; i < spans; ++i) {
        transpose_copy(from + i * pitch, plan.sums.channel_pitch, count, length,
                       image + (at + i * row_step * width) * channels + channel, step * channels);
      }
      continue;
    }
    for (int64_t m = 0; m < count; ++m) {
      S* const to = image + (channel + m) * height * width + at;
      for (int64_t i = 0; i < spans; ++i) {
        store_strided(from + m * plan.sums.channel_pitch + i * pitch, to + i * row_step * width,
                      length, step);
      }
    }
  }
}

}  // namespace
}  // namespace torchconv::cpu

// The store stage of dense_pixels: sums of the flat axis to both layouts and all types.
#pragma once

#include "cpu/common/activate.h"
#include "cpu/common/copy.h"
#include "cpu/dense_pixels/plan.h"

namespace torchconv::cpu {
namespace {

// `count` channels of a job's sums go to their places in the result: those of the phase `columns`, and where two
// phases come at once those of the other, phase_pitch further on.
template <template <class, class> class Job, class S, class A>
void store_pixels(const Job<S, A>& job, const Compute<S>* sums, int64_t phase_pitch,
                  int64_t channel, int64_t count, const AxisPhase& rows, const AxisPhase& columns) {
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
    const bool two = plan.sums.phases == 2;
    const int64_t both = smaller(2 * length, width - job.column_begin * step);
    for (int64_t m = 0; m < count; ++m) {
      S* const to = image + (channel + m) * height * width + at;
      for (int64_t i = 0; i < spans; ++i) {
        const Compute<S>* const row = from + m * plan.sums.channel_pitch + i * pitch;
        if (two) {
          store_alternating(row, row + phase_pitch, to + i * row_step * width, both);
        } else {
          store_strided(row, to + i * row_step * width, length, step);
        }
      }
    }
  }
}

// The same channels of a forward pass, which are in the result by now.
template <template <class, class> class Job, class S, class A>
void activate_channels(const Job<S, A>& job, int64_t channel, int64_t count) {
  if (!job.task.activates()) return;
  const Gather& gather = job.gather;
  const int64_t width = gather.columns.dst_size, plane = gather.rows.dst_size * width;
  const int64_t channels = gather.groups * gather.dst_channels;
  const bool together = gather.layout == Layout::kChannelsLast, joined = job.columns == width;
  const int64_t spans = joined ? 1 : job.rows, length = job.rows * job.columns / spans;
  for (int64_t n = job.image_begin; n < job.image_begin + job.images; ++n) {
    for (int64_t i = 0; i < spans; ++i) {
      S* const image = (S*)job.task.result + n * channels * plane;
      const int64_t at = (job.row_begin + i) * width + job.column_begin;
      if (together) {
        activate(job.task, image + at * channels + channel, length, channels, count);
      } else {
        activate(job.task, image + channel * plane + at, count, plane, length);
      }
    }
  }
}

}  // namespace
}  // namespace torchconv::cpu

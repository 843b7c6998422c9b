// What stands between tensors and quads.h: lines of quads. Their weights: pack_quads.h.
//
//     contiguous      line [column modulo the stride][column][4]
//     channels_last   line [column][lane][4], lanes the channels of a depthwise layer, or output channels
#pragma once

#include "cpu/common/dispatch.h"
#include "cpu/common/gather.h"
#include "cpu/integer/plan.h"
#include "cpu/simd/dot.h"

namespace torchconv::cpu {
namespace {

// Of one image, for one job.
struct QuadLoader {
  const IntegerPlan& plan;
  const uint8_t* image;
  Strides strides;
  char* line;            // of quads before they are sorted by residues
  const uint8_t* zeros;  // as many as are loaded at once
  Range real;            // those columns of a padded row that the image has

  const Gather& gather() const { return plan.gather; }

  bool has_row(int64_t y) const { return y >= 0 && y < gather().rows.src_size; }

  const uint8_t* row(int64_t channel, int64_t y) const {
    return has_row(y) ? image + channel * strides.channel + y * strides.row : zeros;
  }

  void fill(char* out, int64_t columns) const {
    if (plan.quads.lanes > 1) {
      __builtin_memset(out, (int)plan.offset, (size_t)(4 * plan.quads.lanes * columns));
      return;
    }
    for (int64_t i = 0; i < 4 * columns; ++i) out[i] = (char)plan.offset;  // few
  }

  // From the planes or rows of a quad; `count` lanes of each column are real.
  void load(const uint8_t* const (&rows)[4], int64_t count, char* out) const {
    const Quads& quads = plan.quads;
    const int64_t column = strides.column, first = (real.begin - gather().columns.padding) * column;
    const int64_t pitch = 4 * quads.lanes;
    char* const to = quads.residues > 1 ? line : out;
    fill(to, real.begin);
    fill(to + real.end * pitch, quads.wanted - real.end);
    if (real.begin == real.end) return residues_of_line(out);
    const uint8_t* at[4];
    int64_t step[4];  // none where there are only zeros
    for (int j = 0; j < 4; ++j) {
      step[j] = rows[j] == zeros ? 0 : column;
      at[j] = rows[j] == zeros ? zeros : rows[j] + first;
    }
    const int flip = (int)plan.offset;
    if (column == quads.lanes) {
      const int64_t all = (real.end - real.begin) * column;
      Dot::interleave(at, all, flip, to + real.begin * pitch);
    } else {
      for (int64_t i = real.begin; i < real.end; ++i) {
        Dot::interleave(at, count, flip, to + i * pitch);
        for (int j = 0; j < 4; ++j) at[j] += step[j];
      }
    }
    residues_of_line(out);
  }

  void residues_of_line(char* out) const {
    const Quads& quads = plan.quads;
    if (quads.residues == 1) return;
    for (int64_t i = 0; i < quads.residues; ++i, out += 4 * quads.columns) {
      const int64_t count = ceil_div(quads.wanted - i, quads.residues);
      const uint32_t* __restrict__ from = (const uint32_t*)line + i;
      uint32_t* __restrict__ to = (uint32_t*)out;
      if (quads.residues == 2) {
        for (int64_t j = 0; j < count; ++j) to[j] = from[2 * j];
      } else {
        for (int64_t j = 0; j < count; ++j) to[j] = from[quads.residues * j];
      }
    }
  }

  // For output rows from `first` on, of `channels` from `channel` on: lines [channel][block].
  void load_rows(int64_t first, int64_t channel, int64_t channels, char* out) const {
    const Axis& axis = gather().rows;
    const Quads& quads = plan.quads;
    const int64_t top = first * axis.src_step - axis.padding;
    const bool last = gather().layout == Layout::kChannelsLast;
    const int64_t taps = axis.kernel + quads.outputs - 1;
    for (int64_t c = 0; c < (last ? 1 : channels); ++c) {
      for (int64_t b = 0; b < quads.blocks; ++b, out += quads.line_bytes) {
        const uint8_t* rows[4];
        for (int64_t i = 0; i < 4; ++i) {
          const bool read = 4 * b + i < taps;
          rows[i] = read ? row(channel + c, top + (4 * b + i) * axis.dilation) : zeros;
        }
        load(rows, channels, out);
      }
    }
  }

  // `count` output rows from `first` on, of the planes of a group: lines [block][row].
  void load_planes(int64_t first, int64_t count, int64_t group, char* out) const {
    const int64_t top = first * gather().rows.src_step - gather().rows.padding;
    const int64_t channels = gather().src_channels;
    for (int64_t b = 0; b < plan.quads.blocks; ++b) {
      char* to = out + b * plan.source_rows(plan.rows.size) * plan.quads.line_bytes;
      for (int64_t y = 0; y < plan.source_rows(count); ++y, to += plan.quads.line_bytes) {
        const uint8_t* rows[4];
        for (int64_t i = 0; i < 4; ++i) {
          const int64_t channel = smaller(4 * b + i, channels - 1);  // whose weights are zero
          rows[i] = row(group * channels + channel, top + y);
        }
        load(rows, 1, to);
      }
    }
  }

  // The same as bytes: lines [channel][row].
  void load_windows(int64_t first, int64_t count, int64_t channel, char* out) const {
    const int64_t top = first * gather().rows.src_step - gather().rows.padding;
    const int64_t start = real.begin - gather().columns.padding, bytes = plan.quads.line_bytes;
    for (int64_t c = 0; c < gather().src_channels; ++c) {
      char* to = out + c * plan.source_rows(plan.rows.size) * bytes;
      for (int64_t y = top; y < top + plan.source_rows(count); ++y, to += bytes) {
        const Range has = has_row(y) ? real : Range{0, 0};
        const uint8_t* const from = has_row(y) ? row(channel + c, y) + start : zeros;
        Dot::pad_row(from, has.begin, has.end, plan.quads.wanted, (int)plan.offset, to);
      }
    }
  }

  // Quads of channels in channels_last, for the output channels of a vector.
  void load_pixels(int64_t first, int64_t count, int64_t vector, char* out) const {
    const Quads& quads = plan.quads;
    const int64_t top = first * gather().rows.src_step - gather().rows.padding;
    const int64_t channels = gather().src_channels, k = vector * Dot::kLanes;
    const int64_t from = k / gather().dst_channels * channels;
    const int64_t left = gather().groups * channels - from;
    for (int64_t b = 0; b < quads.blocks; ++b) {
      int32_t which[Dot::kLanes];
      for (int i = 0; i < Dot::kLanes; ++i) {
        const int64_t group =
            smaller(k + i, gather().groups * gather().dst_channels - 1) / gather().dst_channels;
        which[i] = (int32_t)((group * channels - from) / 4 + b);
      }
      const Dot::Vec order = Dot::load(which);
      char* to = out + b * plan.source_rows(plan.rows.size) * quads.line_bytes;
      for (int64_t y = top; y < top + plan.source_rows(count); ++y, to += quads.line_bytes) {
        if (!has_row(y)) {
          fill(to, quads.wanted);
          continue;
        }
        fill(to, real.begin);
        fill(to + real.end * 4 * quads.lanes, quads.wanted - real.end);
        const uint8_t* at = row(from, y) + (real.begin - gather().columns.padding) * strides.column;
        for (int64_t i = real.begin; i < real.end; ++i, at += strides.column) {
          Dot::store(to + i * 4 * Dot::kLanes,
                     Dot::pick(at, smaller(left / 4, Dot::kLanes), order, (int)plan.offset));
        }
      }
    }
  }
};

}  // namespace
}  // namespace torchconv::cpu

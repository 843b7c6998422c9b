// What stands between tensors and quads.h: lines of quads, and packed weights.
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

// One filter, to one or all outputs of its unit: [term][output][lane][4].
struct QuadFilter {
  const IntegerPlan& plan;
  const int64_t* stride;
  const int8_t* filter;
  char* weights;
  int64_t lanes;
  uint32_t sum = 0;

  // Up to four taps or channels, `step` apart, of which the first is byte 0.
  uint32_t quad(const int8_t* in, int64_t step, int64_t count) {
    return dispatch_int<1, 4>(count, [&](auto all) {
      uint32_t quad = 0;
#pragma GCC unroll 4
      for (int i = 0; i < all.value; ++i) {
        quad |= (uint32_t)(uint8_t)in[i * step] << (8 * i);
        sum += (uint32_t)in[i * step];
      }
      return quad;
    });
  }

  void put_quad(int64_t term, int64_t output, uint32_t quad) const {
    char* const out = weights + 4 * (term * plan.quads.outputs + output) * lanes;
    __builtin_memcpy(out, &quad, sizeof(quad));
  }

  // A kernel column, of which output i begins with so many bytes of zero as it is rows further down.
  void pack_column(const int8_t* in, int64_t first, int64_t step) {
    const Quads& quads = plan.quads;
    const int64_t taps = plan.gather.rows.kernel;
    for (int64_t b = 0; b < quads.blocks; ++b) {
      const int64_t r = 4 * b;
      const uint64_t four = quad(in + r * stride[2], stride[2], smaller(4, taps - r));
      for (int64_t i = 0; i < quads.outputs; ++i) {
        // There is more than one output only where the last quad has room.
        const uint64_t moved = four << (8 * i * quads.shift);
        add_quad(first + b * step, i, (uint32_t)moved);
        if (moved >> 32) add_quad(first + (b + 1) * step, i, (uint32_t)(moved >> 32));
      }
    }
  }

  void add_quad(int64_t term, int64_t output, uint32_t quad) const {
    char* const out = weights + 4 * (term * plan.quads.outputs + output) * lanes;
    uint32_t before;
    __builtin_memcpy(&before, out, sizeof(before));
    put_quad(term, output, before | quad);
  }

  void pack(int64_t output) {
    const Gather& gather = plan.gather;
    const Quads& quads = plan.quads;
    const int64_t r = gather.rows.kernel, s = gather.columns.kernel;
    const int64_t window_rows = quads.terms / gather.src_channels;
    for (int64_t c = 0; c < gather.src_channels; c += quads.of == Quads::Of::kChannels ? 4 : 1) {
      const int8_t* const in = filter + c * stride[1];
      if (quads.of == Quads::Of::kRows) {
        for (int64_t j = 0; j < s; ++j) {
          pack_column(in + j * stride[3], c * quads.blocks * s + j, s);
        }
        continue;
      }
      for (int64_t i = 0; i < r; ++i) {
        const int8_t* const row = in + i * stride[2];
        if (quads.of == Quads::Of::kWindows) {
          const uint32_t four = quad(row, stride[3], s);
          for (int64_t o = 0; o < quads.outputs; ++o) {
            put_quad(c * window_rows + i + o * quads.shift, o, four);
          }
          continue;
        }
        for (int64_t j = 0; j < s; ++j) {
          const int64_t count = smaller(4, gather.src_channels - c);
          const int64_t term = (i * quads.blocks + c / 4) * s + j;
          put_quad(term, output, quad(row + j * stride[3], stride[1], count));
        }
      }
    }
  }
};

inline void pack_filter(const Task& task, const IntegerPlan& plan, int64_t k, int64_t output,
                        int64_t lanes, char* weights, char* starts) {
  const int8_t* const in = (const int8_t*)task.weight + k * task.weight_stride[0];
  QuadFilter filter{plan, task.weight_stride, in, weights, lanes};
  filter.pack(output);
  uint32_t start = task.bias ? (uint32_t)((const int32_t*)task.bias)[k] : 0;
  start -= (uint32_t)plan.offset * filter.sum;
  const bool all = plan.quads.of != Quads::Of::kChannels;
  for (int64_t i = all ? 0 : output; i < (all ? plan.quads.outputs : output + 1); ++i) {
    __builtin_memcpy(starts + 4 * i * lanes, &start, sizeof(start));
  }
}

inline void pack_quads(const Task& task, const IntegerPlan& plan, const Range& units,
                       char* packed) {
  const Gather& gather = plan.gather;
  const Quads& quads = plan.quads;
  const bool last = gather.layout == Layout::kChannelsLast;
  const int64_t lanes = last ? Dot::kLanes : 1, k = gather.dst_channels;
  const bool of_one = quads.of != Quads::Of::kChannels;  // outputs of a unit
  const int64_t together = of_one ? 1 : quads.outputs, parts = ceil_div(k, together);
  for (int64_t unit = units.begin; unit < units.end; ++unit) {
    char* const weights = packed + unit * quads.unit_bytes;
    char* const starts = packed + quads.units * quads.unit_bytes + unit * quads.start_bytes;
    __builtin_memset(weights, 0, (size_t)quads.unit_bytes);
    __builtin_memset(starts, 0, (size_t)quads.start_bytes);
    if (last) {
      for (int64_t i = 0; i < smaller(lanes, gather.groups * k - unit * lanes); ++i) {
        pack_filter(task, plan, unit * lanes + i, 0, lanes, weights + 4 * i, starts + 4 * i);
      }
      continue;
    }
    const int64_t first = unit % parts * together;
    for (int64_t i = 0; i < smaller(together, k - first); ++i) {
      pack_filter(task, plan, unit / parts * k + first + i, i, 1, weights, starts);
    }
  }
}

}  // namespace
}  // namespace torchconv::cpu

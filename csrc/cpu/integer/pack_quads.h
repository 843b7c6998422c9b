// The first stage of quads.h: weights as [term][output][lane], each four bytes, and what sums start with.
#pragma once

#include "cpu/common/dispatch.h"
#include "cpu/integer/plan.h"
#include "cpu/simd/dot.h"

namespace torchconv::cpu {
namespace {

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

  // So many weights, `step` apart, which are added to `all`.
  template <int count>
  static uint32_t quad_of(const int8_t* in, int64_t step, uint32_t& all) {
    uint32_t quad = 0;
#pragma GCC unroll 4
    for (int i = 0; i < count; ++i) {
      quad |= (uint32_t)(uint8_t)in[i * step] << (8 * i);
      all += (uint32_t)in[i * step];
    }
    return quad;
  }

  // All kernel columns, where each is one quad even for the output that is furthest down.
  void pack_columns() {
    const Gather& gather = plan.gather;
    const Quads& quads = plan.quads;
    const int64_t columns = gather.columns.kernel, outputs = quads.outputs, pitch = 4 * lanes;
    const int64_t shift = 8 * quads.shift, down = stride[2], right = stride[3];
    char* out = weights;  // what is stored there might be anything but these variables
    uint32_t all = 0;
    dispatch_int<1, 4>(gather.rows.kernel, [&](auto rows) {
      for (int64_t c = 0; c < gather.src_channels; ++c) {
        const int8_t* in = filter + c * stride[1];
        for (int64_t s = 0; s < columns; ++s, in += right) {
          const uint32_t column = quad_of<rows.value>(in, down, all);
          for (int64_t i = 0; i < outputs; ++i, out += pitch) {
            const uint32_t quad = column << (i * shift);
            __builtin_memcpy(out, &quad, sizeof(quad));
          }
        }
      }
    });
    sum += all;
  }

  // The kernel rows of planes.h: one quad each, or two.
  void pack_rows() {
    const int64_t columns = plan.gather.columns.kernel, in_row = ceil_div(columns, 4);
    const int64_t rows = plan.gather.rows.kernel, down = stride[2], right = stride[3];
    char* out = weights;
    uint32_t all = 0;
    for (int64_t b = 0; b < in_row; ++b) {
      dispatch_int<1, 4>(smaller(4, columns - 4 * b), [&](auto taps) {
        const int8_t* in = filter + 4 * b * right;
        for (int64_t i = 0; i < rows; ++i, in += down) {
          const uint32_t quad = quad_of<taps.value>(in, right, all);
          __builtin_memcpy(out + 4 * (i * in_row + b), &quad, sizeof(quad));
        }
      });
    }
    sum += all;
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
    if (quads.of == Quads::Of::kRows && quads.blocks == 1) return pack_columns();
    if (quads.planes) return pack_rows();
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
          for (int64_t o = 0; o < (quads.three_rows ? 1 : quads.outputs); ++o) {
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

// The depthwise filters of a vector of channels: taps of all of them, row by row, are quads as pixels are.
inline void pack_lanes(const Task& task, const IntegerPlan& plan, int64_t unit, char* weights,
                       char* starts) {
  constexpr int64_t kLanes = Dot::kLanes;
  const Quads& quads = plan.quads;
  const int64_t* const stride = task.weight_stride;
  const int64_t rows = plan.gather.rows.kernel, columns = plan.gather.columns.kernel;
  const int64_t first = unit * kLanes, valid = smaller(kLanes, plan.gather.groups - first);
  int32_t sums[kLanes] = {};
  for (int64_t s = 0; s < columns; ++s) {
    // The rows of a quad behind those of the quad before: outputs further down begin with these.
    uint8_t taps[8][kLanes] = {};
    for (int64_t b = 0; b < quads.blocks; ++b) {
      __builtin_memcpy(taps[0], taps[4], sizeof(taps) / 2);
      __builtin_memset(taps[4], 0, sizeof(taps) / 2);
      for (int64_t r = 4 * b; r < smaller(rows, 4 * b + 4); ++r) {
        uint8_t* const tap = taps[4 + r % 4];
        const uint8_t* in =
            (const uint8_t*)task.weight + first * stride[0] + r * stride[2] + s * stride[3];
        for (int64_t l = 0; l < valid; ++l, in += stride[0]) tap[l] = *in;
        for (int64_t l = 0; l < kLanes; ++l) sums[l] += (int8_t)tap[l];
      }
      for (int64_t i = 0; i < quads.outputs; ++i) {
        const uint8_t* four[4];
        for (int64_t j = 0; j < 4; ++j) four[j] = taps[4 + j - i * quads.shift];
        Dot::interleave(four, kLanes, 0,
                        weights + 4 * kLanes * ((b * columns + s) * quads.outputs + i));
      }
    }
  }
  for (int64_t l = 0; l < kLanes; ++l) {
    const bool has_bias = task.bias && l < valid;
    uint32_t start = has_bias ? (uint32_t)((const int32_t*)task.bias)[first + l] : 0;
    start -= (uint32_t)plan.offset * (uint32_t)sums[l];
    for (int64_t i = 0; i < quads.outputs; ++i)
      __builtin_memcpy(starts + 4 * (i * kLanes + l), &start, sizeof(start));
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
    if (last && quads.of == Quads::Of::kRows) {
      pack_lanes(task, plan, unit, weights, starts);
      continue;
    }
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

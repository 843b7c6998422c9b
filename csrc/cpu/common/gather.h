// Forward and input gradient as one thing: every element of the destination gathers taps of the
// source.
//
//     dst[o][row0 + i * dst_step] = sum over c, tap of src[c][i * src_step + offset(tap)] * weight
//
// Forward: the source is the input, one phase, src_step is the stride. Input gradient: the source
// is grad; with a stride the destination falls into stride_h * stride_w phases, each of which sees
// its own taps and reads the source with step 1. Offsets of taps are linear in their index. No
// torch, no SIMD.
#pragma once

#include "cpu/common/arithmetic.h"
#include "cpu/common/cost_model.h"
#include "cpu/common/element.h"
#include "cpu/common/sum_order.h"
#include "cpu/plan.h"

namespace torchconv::cpu {

// One axis of one phase.
struct AxisPhase {
  int64_t size;       // destination positions of this phase
  int64_t dst_first;  // destination coordinate of position i: dst_first + i * dst_step
  int64_t taps;       // kernel index of tap t: kernel_first + t * kernel_step
  int64_t kernel_first, kernel_step;
  int64_t src_first;  // source coordinate: i * src_step + src_first + t * src_delta
  int64_t src_delta;
};

struct Axis {
  int64_t src_size, dst_size;
  int64_t kernel;
  int64_t phases, dst_step, src_step;
  int64_t longest;      // positions of the longest phase
  int64_t fewest_taps;  // of a phase that has any; else 0
  int64_t src_low,
      src_high;  // over all phases and taps: source coordinate - i * src_step lies in here

  AxisPhase phase(int64_t index) const;

  // Whether no tap of any position reaches into the padding.
  bool inside() const { return src_low >= 0 && (longest - 1) * src_step + src_high < src_size; }

  // Filled by make_axis: what phase() needs.
  bool forward;
  int64_t stride, padding, dilation;
};

inline AxisPhase Axis::phase(int64_t index) const {
  AxisPhase p{};
  p.dst_first = index;
  p.size = dst_size > index ? ceil_div(dst_size - index, dst_step) : 0;
  if (forward) {
    p.taps = kernel;
    p.kernel_step = 1;
    p.src_first = -padding;
    p.src_delta = dilation;
    return p;
  }
  // Destination index + i * stride, tap r: the source is (index + padding - r * dilation) / stride
  // + i where that division has no remainder.
  p.kernel_step = stride / greatest_common_divisor(stride, dilation);
  while (p.kernel_first < p.kernel_step && p.kernel_first < kernel &&
         (index + padding - p.kernel_first * dilation) % stride) {
    ++p.kernel_first;
  }
  if (p.kernel_first >= p.kernel_step || p.kernel_first >= kernel) return p;
  p.taps = ceil_div(kernel - p.kernel_first, p.kernel_step);
  p.src_first = (index + padding - p.kernel_first * dilation) / stride;
  p.src_delta = -(p.kernel_step * dilation / stride);
  return p;
}

// Taps that reach the source from any of the positions [first, last]: [begin, end).
inline void inner_taps(const Axis& axis, const AxisPhase& phase, int64_t first, int64_t last,
                       int64_t& begin, int64_t& end) {
  const auto outside = [&](int64_t tap) {
    const int64_t at = phase.src_first + tap * phase.src_delta;
    return last * axis.src_step + at < 0 || first * axis.src_step + at >= axis.src_size;
  };
  begin = 0, end = phase.taps;
  while (begin < end && outside(begin)) ++begin;
  while (begin < end && outside(end - 1)) --end;
}

// Taps of a forward axis that reach the source rather than padding, of all positions.
inline int64_t inner_taps(const Axis& axis) {
  const AxisPhase all = axis.phase(0);
  int64_t taps = 0;
  for (int64_t tap = 0; tap < all.taps; ++tap) {
    const int64_t first = all.src_first + tap * all.src_delta;
    const Range positions = inside(first, axis.src_step, axis.dst_size, axis.src_size);
    taps += positions.end - positions.begin;
  }
  return taps;
}

// Positions of a phase from `first` on that reach the source with the same taps, [tap_begin, tap_end).
struct TapSpan {
  int64_t end, tap_begin, tap_end;

  TapSpan(const Axis& axis, const AxisPhase& phase, int64_t first, int64_t last) : end(first + 1) {
    inner_taps(axis, phase, first, first, tap_begin, tap_end);
    if (tap_begin == 0 && tap_end == phase.taps &&
        tap_end > 0) {  // up to where one leaves the source
      const int64_t far = phase.src_first + larger(0, (phase.taps - 1) * phase.src_delta);
      end = smaller(last, (axis.src_size - 1 - far) / axis.src_step + 1);
      return;
    }
    for (int64_t begin = tap_begin, stop = tap_end; end < last; ++end) {
      inner_taps(axis, phase, end, end, begin, stop);
      if (begin != tap_begin || stop != tap_end) break;
    }
  }
};

inline Axis make_axis(bool forward, int64_t in_size, int64_t out_size, int64_t kernel,
                      int64_t stride, int64_t padding, int64_t dilation) {
  Axis a{};
  a.forward = forward;
  a.stride = stride, a.padding = padding, a.dilation = dilation, a.kernel = kernel;
  a.src_size = forward ? in_size : out_size;
  a.dst_size = forward ? out_size : in_size;
  a.dst_step = forward ? 1 : stride;
  a.phases = smaller(a.dst_step, a.dst_size);
  a.src_step = forward ? stride : 1;
  a.longest = ceil_div(a.dst_size, a.dst_step);
  bool any = false;
  for (int64_t i = 0; i < a.phases; ++i) {
    const AxisPhase p = a.phase(i);
    if (!p.taps || !p.size) continue;
    a.fewest_taps = any ? smaller(a.fewest_taps, p.taps) : p.taps;
    const int64_t last = p.src_first + (p.taps - 1) * p.src_delta;
    const int64_t low = smaller(p.src_first, last), high = larger(p.src_first, last);
    a.src_low = any ? smaller(a.src_low, low) : low;
    a.src_high = any ? larger(a.src_high, high) : high;
    any = true;
  }
  return a;
}

// What the steps of a kernel at the level AVX-512 with BF16 are (simd/pairs.h): single elements as at all
// levels, pairs of neighbouring source channels, also of blocks that have an odd number of them
// (dense_channels/odd_channels.h), or of taps that follow each other (dense_channels/tap_steps.h), or, for the weight
// gradient, of pixels (grad_weight/load_pairs.h).
enum class InPairs { kNot, kChannels, kOddChannels, kTaps, kPixels };

// A forward gather over padding that repeats elements of the input (margins) is one over a larger image without
// padding, which nobody has in memory: its rows and columns begin with the padding. Only what loads it knows.
struct Gather {
  int64_t n, groups;
  int64_t src_channels, dst_channels;  // per group
  SumOrder order;
  Axis rows, columns;
  Layout layout;
  InPairs pairs;  // of channels: these are counted in pairs
  Margins margins;

  // Of the source in memory.
  int64_t src_height() const { return rows.src_size - margins.top - margins.bottom; }
  int64_t src_width() const { return columns.src_size - margins.left - margins.right; }
  int64_t phases() const { return rows.phases * columns.phases; }
  int64_t taps() const { return rows.kernel * columns.kernel; }
  // Source channels of a group, single ones.
  int64_t single_channels() const { return order.single(src_channels); }
  // Of all source channels and taps.
  int64_t steps() const {
    return pairs == InPairs::kTaps ? ceil_div(src_channels * taps(), 2) : src_channels * taps();
  }
  // The source channels in equal chunks of about `most`, each of which ends with a partial sum, in
  // whatever phase.
  Cut channel_chunks(int64_t most) const {
    const int64_t least = order.c_block * order.partial(rows.fewest_taps * columns.fewest_taps);
    const int64_t size = Cut::into(ceil_div(src_channels, larger(1, most)), src_channels).size;
    return Cut::of(smaller(src_channels, round_up(size, least)), src_channels);
  }
};

// The longest row, of those that leave few pixels to a last tile, that so many pixels are a multiple of, or 0.
inline int64_t long_row(int64_t pixels) {
  for (int64_t row = cost::kLongestRow; row >= cost::kShortestRow; --row) {
    if (pixels % row == 0) return row;
  }
  return 0;
}

// The row length that a pointwise layer is given, see cost_model.h.
inline int64_t pointwise_row(const Conv2dShape& shape) {
  using namespace cost;
  const int64_t pixels = shape.h * shape.w;
  if (shape.layout == Layout::kChannelsLast && pixels > kLongestRow) {
    if (const int64_t row = long_row(pixels)) return row;
  }
  return pixels <= kOneRow ? pixels : shape.w;
}

// Of a pointwise layer: so many pixels, in rows of that length.
inline void set_rows_of_pixels(Gather& gather, bool forward, int64_t pixels, int64_t row) {
  gather.rows = make_axis(forward, pixels / row, pixels / row, 1, 1, 0, 1);
  gather.columns = make_axis(forward, row, row, 1, 1, 0, 1);
}

inline Gather make_gather(Op op, const Conv2dShape& shape, bool one_row = false) {
  const bool forward = op == Op::kForward;
  Gather gather{};
  gather.n = shape.n, gather.groups = shape.groups, gather.layout = shape.layout;
  gather.src_channels = forward ? shape.c_per_group() : shape.k_per_group();
  gather.dst_channels = forward ? shape.k_per_group() : shape.c_per_group();
  gather.order = SumOrder(op, shape);
  const bool pointwise = shape.r == 1 && shape.s == 1 && shape.stride_h == 1 &&
                         shape.stride_w == 1 && shape.h == shape.p && shape.w == shape.q &&
                         !shape.pad_top && !shape.pad_left;
  if (pointwise) {
    const int64_t pixels = shape.h * shape.w;
    set_rows_of_pixels(gather, forward, pixels, one_row ? pixels : pointwise_row(shape));
  } else if (forward && shape.padding_mode != PaddingMode::kZeros) {
    gather.margins = margins(shape);
    gather.rows = make_axis(true, shape.h + shape.pad_top + shape.pad_bottom, shape.p, shape.r,
                            shape.stride_h, 0, shape.dilation_h);
    gather.columns = make_axis(true, shape.w + shape.pad_left + shape.pad_right, shape.q, shape.s,
                               shape.stride_w, 0, shape.dilation_w);
  } else {
    gather.rows = make_axis(forward, shape.h, shape.p, shape.r, shape.stride_h, shape.pad_top,
                            shape.dilation_h);
    gather.columns = make_axis(forward, shape.w, shape.q, shape.s, shape.stride_w, shape.pad_left,
                               shape.dilation_w);
  }
  return gather;
}

// Parts of the destination channels that jobs share: as many as the threads need, and as keep the sums of a
// job that wait for its next channels within a bound; waiting_bytes(parts) is 0 where none do.
template <class WaitingBytes>
int64_t parts_of_channels(int64_t jobs, int64_t threads, int64_t most,
                          const WaitingBytes& waiting_bytes) {
  int64_t parts = parts_for_threads(jobs, threads, most);
  while (2 * parts <= most && waiting_bytes(parts) > cost::kKeptSums) parts *= 2;
  return parts;
}

// What a plan keeps for its jobs.
template <class P>
struct Planned {
  Gather gather;
  P plan;
};

// The source of a task as Gather sees it.
inline const void* gather_source(const Task& task) {
  return task.op == Op::kForward ? task.input : task.grad;
}

}  // namespace torchconv::cpu

// Packs weights for the lanes: shared by the algorithms that broadcast pixels against them and those
// that broadcast them against pixels.
#pragma once

#include "cpu/common/beyond_caches.h"
#include "cpu/common/copy.h"
#include "cpu/common/cost_model.h"
#include "cpu/common/gather.h"

namespace torchconv::cpu {
namespace {

// A: what weights are packed as, numbers of the compute type or pairs of source channels.

// Columns that become rows of lanes at once.
constexpr int64_t kPackedSpan = 64;

// Column j of `count` columns of lanes, `in_stride` apart, becomes the row that begins at out + row[j].
template <class In, class T>
void pack_columns(In in, int64_t in_stride, int64_t valid, int64_t count, const int64_t* row,
                  T* out) {
  transpose_to<In, T, T>(
      in, in_stride, valid, count, [=](int64_t j) { return out + row[j]; }, nullptr);
}

// From [lane][channel][tap] to [channel / block][tap][channel % block][width]; `far`: fetched ahead.
template <class S>
void pack_taps(const S* in, int64_t in_stride, int64_t valid, int64_t channels, int64_t taps,
               int64_t block, int64_t width, bool far, Compute<S>* out) {
  int64_t row[kPackedSpan];
  int64_t first = 0, tap = 0, channel = 0;  // of a block, which begins at `first`
  for (int64_t span = 0; span < channels * taps; span += kPackedSpan) {
    const int64_t count = smaller(kPackedSpan, channels * taps - span);
    if (far) {
      const int64_t rest = channels * taps - span - kPackedSpan;
      prefetch_rows(in + span + kPackedSpan, in_stride, valid, smaller(kPackedSpan, rest));
    }
    for (int64_t j = 0; j < count; ++j) {
      row[j] = first + (tap * block + channel) * width;
      if (++tap < taps) continue;
      tap = 0;
      if (++channel == block) channel = 0, first += taps * block * width;
    }
    pack_columns(in + span, in_stride, valid, count, row, out);
  }
}

// One tap of the same, from neighbouring channels, [lane][channel]; `next`: where the next tap's are, or null.
template <class S, class A>
void pack_channels(const S* in, const S* next, int64_t in_stride, int64_t valid, int64_t channels,
                   int64_t taps, int64_t block, int64_t width, bool far, A* out) {
  using Read = Reading<LoadedAs<S, A>>;
  int64_t row[kPackedSpan];
  int64_t first = 0, channel = 0;
  for (int64_t span = 0; span < channels; span += kPackedSpan) {
    const int64_t count = smaller(kPackedSpan, channels - span),
                  rest = channels - span - kPackedSpan;
    const S* const at = in + span * Read::kChannels;
    const S* const after = rest > 0 ? at + kPackedSpan * Read::kChannels : next;
    if (far && after)
      prefetch_rows(after, in_stride, valid,
                    smaller(kPackedSpan, rest > 0 ? rest : channels) * Read::kChannels);
    for (int64_t j = 0; j < count; ++j) {
      row[j] = first + channel * width;
      if (++channel == block) channel = 0, first += taps * block * width;
    }
    pack_columns(Read::channels(at), in_stride / Read::kChannels, valid, count, row, out);
  }
}

// Pairs of neighbouring channels of a block that ends with a single one, of one tap.
template <class S, class A>
void pack_odd_block(const S* in, int64_t in_stride, int64_t valid, int64_t c_block, int64_t width,
                    A* out) {
  if constexpr (std::is_same_v<A, Pair>) {
    // Pairs of all neighbours, of which every other one is overwritten by the next.
    int64_t row[2 * kLaneBlock<float>];
    const int64_t whole = c_block - 1, count = 2 * whole - 1;
    for (int64_t j = 0; j < count; ++j) row[j] = (j + 1) / 2 * width;
    pack_columns(RowPairs{in, 1}, in_stride, valid, count, row, out);
    const int64_t last = whole * width;
    pack_columns(LonePairs{in + 2 * whole}, in_stride, valid, 1, &last, out);
  }
}

// Where the phases of an input gradient with a stride have the taps of the kernel: the row of channel 0, and how
// far it is to that of the next block of channels.
struct PhaseRows {
  bool all = false;  // of these: others than a missing phase has, and not too many
  int64_t first[kPackedSpan], block[kPackedSpan];

  PhaseRows(const Gather& gather, int64_t channels, int64_t width) {
    if (gather.taps() > kPackedSpan) return;
    int64_t before = 0;
    for (int64_t pr = 0; pr < gather.rows.phases; ++pr) {
      const AxisPhase rows = gather.rows.phase(pr);
      for (int64_t pc = 0; pc < gather.columns.phases; ++pc) {
        const AxisPhase columns = gather.columns.phase(pc);
        const int64_t taps = rows.taps * columns.taps;
        for (int64_t i = 0; i < taps; ++i) {
          const int64_t r = rows.kernel_first + i / columns.taps * rows.kernel_step,
                        s = columns.kernel_first + i % columns.taps * columns.kernel_step;
          first[r * gather.columns.kernel + s] =
              (before * channels + i * gather.order.c_block) * width;
          block[r * gather.columns.kernel + s] = taps * gather.order.c_block * width;
        }
        before += taps;
      }
    }
    all = before == gather.taps();
  }
};

// Packs the lanes [lane, lane + valid) of one group's destination channels, for the source channels
// [c_begin, c_begin + channels), as [phase][block][r, s][c][width]; leaves surplus lanes as they are and
// returns the end.
template <class S, class A>
A* pack_lanes(const Task& task, const Gather& gather, int64_t group, int64_t lane, int64_t valid,
              int64_t width, int64_t c_begin, int64_t channels, A* out) {
  using Read = Reading<LoadedAs<S, A>>;
  const bool forward = task.op == Op::kForward;
  const int64_t* stride = task.weight_stride;
  // The weight of destination lane i and source channel c: at i * dst_stride + c * src_stride, of a pair
  // of channels with the second one `apart` from there.
  const int64_t dst_stride = forward ? stride[0] : stride[1],
                apart = forward ? stride[1] : stride[0], src_stride = apart * Read::kChannels;
  const int64_t group_at = group * task.shape.k_per_group() * stride[0];
  const SumOrder& order = gather.order;
  const S* const weight = (const S*)task.weight + group_at + lane * dst_stride +
                          (order.lone ? order.single(c_begin) * apart : c_begin * src_stride);
  // f(the weights of a channel or pair of them), given those of channel 0
  const auto with_row = [=](const S* first, int64_t c, const auto& f) {
    if constexpr (std::is_same_v<A, Pair>) {
      if (order.lone) {
        const S* const at = first + order.single(c) * apart;
        return order.is_lone(c) ? f(LonePairs{at}) : f(Read::row(at, apart));
      }
    }
    f(Read::row(first + c * src_stride, apart));
  };
  const int64_t taps = gather.taps(), r = gather.rows.kernel, s = gather.columns.kernel;
  // Lanes are so far apart that no hardware prefetcher sees the next channels coming; few are in a cache.
  const bool far = valid * channels * taps * (int64_t)sizeof(S) > cost::kFarWeights;
  const bool every_tap = gather.rows.dst_step == 1 && gather.columns.dst_step == 1;
  const bool taps_follow =
      stride[3] == 1 && (r == 1 || stride[2] == s) && dst_stride > 1 && apart > 1;
  if (taps_follow && every_tap) {
    if constexpr (!std::is_same_v<A, Pair>) {
      if (src_stride == taps) {
        pack_taps(weight, dst_stride, valid, channels, taps, gather.order.c_block, width, far, out);
        return out + channels * taps * width;
      }
    }
    for (int64_t c = 0; c < channels; ++c) {
      if (far) prefetch_rows(weight + (c + 1) * src_stride, dst_stride, valid, taps);
      const int64_t first =
          c / gather.order.c_block * taps * gather.order.c_block + c % gather.order.c_block;
      with_row(weight, c, [&](auto from) {
        transpose_copy(from, dst_stride, valid, taps, out + first * width, order.c_block * width);
      });
    }
    return out + channels * taps * width;
  }
  if (taps_follow) {
    const PhaseRows rows(gather, channels, width);
    for (int64_t c = 0; rows.all && c < channels; ++c) {
      const int64_t block = c / gather.order.c_block, in_block = c % gather.order.c_block;
      int64_t row[kPackedSpan];
      for (int64_t tap = 0; tap < taps; ++tap)
        row[tap] = rows.first[tap] + block * rows.block[tap] + in_block * width;
      if (far) prefetch_rows(weight + (c + 1) * src_stride, dst_stride, valid, taps);
      if (order.lone) {  // for all, single channels of one image take 1.05 of the time (Zen 4)
        with_row(weight, c,
                 [&](auto from) { pack_columns(from, dst_stride, valid, taps, row, out); });
        continue;
      }
      pack_columns(Read::row(weight + c * src_stride, apart), dst_stride, valid, taps, row, out);
    }
    if (rows.all) return out + channels * taps * width;
  }
  const bool beside = apart == 1 && dst_stride > 1;
  const bool neighbours = beside && !order.lone && dst_stride % Read::kChannels == 0;
  for (int64_t pr = 0; pr < gather.rows.phases; ++pr) {
    const AxisPhase rows = gather.rows.phase(pr);
    for (int64_t pc = 0; pc < gather.columns.phases; ++pc) {
      const AxisPhase columns = gather.columns.phase(pc);
      const int64_t phase_taps = rows.taps * columns.taps;
      const auto tap_at = [&](int64_t tap) {
        return weight + (rows.kernel_first + tap / columns.taps * rows.kernel_step) * stride[2] +
               (columns.kernel_first + tap % columns.taps * columns.kernel_step) * stride[3];
      };
      // Blocks of one tap follow each other like one block.
      const int64_t block = phase_taps == 1 ? channels : gather.order.c_block;
      if (neighbours) {
        for (int64_t tap = 0; tap < phase_taps; ++tap) {
          const S* const next = tap + 1 < phase_taps ? tap_at(tap + 1) : nullptr;
          pack_channels(tap_at(tap), next, dst_stride, valid, channels, phase_taps, block, width,
                        far, out + tap * block * width);
        }
        out += channels * phase_taps * width;
        continue;
      }
      const int64_t spans = channels / block * phase_taps;
      for (int64_t span = 0; span < spans; ++span, out += block * width) {
        const S* const tap = tap_at(span % phase_taps);
        const int64_t first = span / phase_taps * block;
        if (beside && order.lone) {
          for (int64_t c = 0; c < block; c += order.c_block)
            pack_odd_block(tap + order.single(first + c), dst_stride, valid, order.c_block, width,
                           out + c * width);
          continue;
        }
        for (int64_t c = 0; c < block; ++c) {
          with_row(tap, first + c, [&](auto from) {
            if (dst_stride == 1) {
              // Lines far apart: no hardware prefetcher sees the next one coming.
              __builtin_prefetch(tap + (first + c + 1) * src_stride);
              copy_span(from, out + c * width, valid);
              return;
            }
            for (int64_t l = 0; l < valid; ++l)
              out[c * width + l] = to_compute(from[l * dst_stride]);
          });
        }
      }
    }
  }
  return out;
}

// The same with zeros in surplus lanes.
template <class S, class A>
A* pack_chunk(const Task& task, const Gather& gather, int64_t group, int64_t lane, int64_t valid,
              int64_t width, int64_t c_begin, int64_t channels, A* out) {
  if (valid < width) fill_zero(out, channels * gather.taps() * width);
  return pack_lanes<S>(task, gather, group, lane, valid, width, c_begin, channels, out);
}

// The same for all source channels, one chunk of them after the other, each where it would begin if its
// phases saw all taps; returns whether all weights are finite.
template <class S, class A>
bool pack_panel(const Task& task, const Gather& gather, int64_t group, int64_t lane, int64_t valid,
                int64_t width, int64_t chunk, A* out) {
  bool finite = true;
  for (int64_t c = 0; c < gather.src_channels; c += chunk) {
    A* const begin = out + c * gather.taps() * width;
    const A* const end = pack_chunk<S>(task, gather, group, lane, valid, width, c,
                                       smaller(chunk, gather.src_channels - c), begin);
    finite &= all_finite(begin, end - begin);
  }
  return finite;
}

}  // namespace
}  // namespace torchconv::cpu

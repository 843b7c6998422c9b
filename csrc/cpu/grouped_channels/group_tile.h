// The inner loop of grouped_channels: two runs of up to eight pixels of a destination row, a vector of
// several groups after the other. Their source vector, or two of them, is loaded once for all taps of a row that
// see it; for each channel of a group a permutation brings that channel of every group to the lanes of its sums.
// Both runs use the same weights, which halves the loads and gives a processor enough sums to work on at
// once. Every sum is one chain of fused multiply-adds in the order c block, r, s, c. S is the type of the source
// and of the result, A that of the operands, numbers or pairs: half types are widened by the load and
// rounded by the store.
#pragma once

#include "cpu/common/dispatch.h"
#include "cpu/common/register_tile.h"
#include "cpu/grouped_channels/plan.h"

namespace torchconv::cpu {
namespace {

constexpr int kGroupRuns = 2;
// Source columns that both runs of a tile see, at most.
constexpr int kGroupColumns = (kGroupRuns * 8 - 1) * 2 + kGroupTaps;
// Pixels of a run, at most; plain C++ is not worth many kernels.
template <class A>
constexpr int kGroupPixels = Simd<A>::kRegisters == 32       ? 8
                             : Simd<A>::kLanes > kPlainLanes ? 4
                                                             : 2;

template <class S, class A>
struct GroupTile {
  const S* x;                         // column 0 of those that the first run sees, tap row 0
  int64_t x_row, x_column, x_vector;  // from one tap row, column and vector to the next
  int64_t x_second;                   // from the first run to the second
  int64_t src_channels;               // from x on; x_vector of them for each vector
  int64_t first, last;                // tap rows that are summed
  int64_t begin, end;                 // tap rows inside the image
  uint32_t inside[kGroupRuns];        // bit j: column j is inside; padding is multiplied as zeros
  // Where padding repeats some of these: from x to each tap row, and to each column that a run sees.
  const int64_t *x_rows, *x_columns[kGroupRuns];
  const A* w;  // [vector][block][tap row][tap][channel][lane]
  int64_t w_row, w_block, w_vector;
  const int32_t* lanes;     // [block][channel][lane]: where a lane finds that channel of its group
  int64_t blocks, c_block;  // of the source channels of a group
  S* out;
  int64_t out_step, out_second;
  int64_t dst_channels, dst_vector;  // from out on; of each vector
  const S* bias;                     // or null
  struct {
    const S* next;  // or null: column 0 of the rows that the tile below reads and this one does not
    int64_t rows, row_pitch;
  } fetch;
};

// Pixel i of a run sees the columns i * kStep + [0, kTaps).
template <class S, class A, int kSources, bool kRepeats, int kTaps, int kStep, int kPixels>
[[gnu::noinline]] void group_tile(const GroupTile<S, A>& t) {
  using V = Simd<A>;
  using Sums = Simd<Compute<S>>;
  using Read = Reading<LoadedAs<S, A>>;
  constexpr int kColumns = (kPixels - 1) * kStep + kTaps, kNewColumns = kPixels * kStep;
  constexpr int64_t kLanes = V::kLanes;
  const int64_t channels = t.c_block, w_tap = channels * kLanes, x_column = t.x_column;
  const int64_t x_second = t.x_second, out_step = t.out_step, out_second = t.out_second;
  const S* x_vector = t.x;
  const A* w_vector = t.w;
  const int64_t line = 64 / (int64_t)sizeof(S);
  for (int64_t k = 0, c = 0; k < t.dst_channels; k += t.dst_vector, c += t.x_vector) {
    if (t.fetch.next && c % line < t.x_vector) {
      for (int64_t r = 0; r < t.fetch.rows; ++r) {
        const S* const next = t.fetch.next + r * t.fetch.row_pitch + c;
#pragma GCC unroll 1
        for (int j = 0; j < kNewColumns; ++j) {
#pragma GCC unroll 2
          for (int i = 0; i < kSources; ++i) {
            __builtin_prefetch(next + j * x_column + i * line, 0, 2);
            __builtin_prefetch(next + x_second + j * x_column + i * line, 0, 2);
          }
        }
      }
    }
    typename V::Vec sum[kPixels][kGroupRuns];
#pragma GCC unroll 8
    for (int i = 0; i < kPixels; ++i) {
#pragma GCC unroll 2
      for (int u = 0; u < kGroupRuns; ++u) sum[i][u] = V::zero();
    }
    const int64_t loaded = smaller(t.x_vector, t.src_channels - c) / Read::kChannels;
    const int64_t first =
        smaller(loaded, kLanes);  // of the source channels: those of the first vector
    const A* w_block = w_vector;
    const int32_t* block_lanes = t.lanes;
    for (int64_t block = t.blocks; block > 0; --block) {
      for (int64_t r = t.first; r < t.last; ++r) {
        const bool row_inside = r >= t.begin && r < t.end;
        const uint32_t inside[kGroupRuns] = {row_inside ? t.inside[0] : 0,
                                             row_inside ? t.inside[1] : 0};
        const S* const x = x_vector + (kRepeats ? t.x_rows[r] : r * t.x_row);
        const A* const w_row = w_block + r * t.w_row;
#pragma GCC unroll 32
        for (int j = 0; j < kColumns; ++j) {
          typename V::Vec at[kGroupRuns], more[kGroupRuns];
#pragma GCC unroll 2
          for (int u = 0; u < kGroupRuns; ++u) {
            const auto from =
                Read::channels(x + (kRepeats ? t.x_columns[u][j] : u * x_second + j * x_column));
            const bool there = kRepeats || inside[u] >> j & 1;
            at[u] = there ? V::load_first(from, first) : V::zero();
            if (kSources == 2)
              more[u] = there ? V::load_first(from + kLanes, loaded - first) : V::zero();
          }
          const A* w = w_row;
          const int32_t* lanes = block_lanes;
          for (int64_t i = channels; i > 0; --i, w += kLanes, lanes += kLanes) {
            typename V::Vec channel[kGroupRuns];
#pragma GCC unroll 2
            for (int u = 0; u < kGroupRuns; ++u)
              channel[u] =
                  kSources == 2 ? V::permute(at[u], more[u], lanes) : V::permute(at[u], lanes);
#pragma GCC unroll 4
            for (int s = 0; s < kTaps; ++s) {
              if (j < s || (j - s) % kStep || j - s > (kPixels - 1) * kStep) continue;
              const auto weight = V::held(V::load(w + s * w_tap));
              const int pixel = (j - s) / kStep;
#pragma GCC unroll 2
              for (int u = 0; u < kGroupRuns; ++u)
                sum[pixel][u] = V::fma(weight, channel[u], sum[pixel][u]);
            }
          }
        }
      }
      w_block += t.w_block, block_lanes += channels * kLanes;
    }
    const int64_t valid = smaller(t.dst_vector, t.dst_channels - k);
    const auto bias =
        t.bias ? without_sign_of_zero<Sums>(Sums::load_first(t.bias + k, valid)) : V::zero();
    const auto store = [&](auto store_sum) {
#pragma GCC unroll 8
      for (int i = 0; i < kPixels; ++i) {
#pragma GCC unroll 2
        for (int u = 0; u < kGroupRuns; ++u)
          store_sum(t.out + k + i * out_step + u * out_second, V::add(sum[i][u], bias));
      }
    };
    if (valid == kLanes) {
      store([](S* out, auto whole) { Sums::store(out, whole); });
    } else {
      store([=](S* out, auto whole) { Sums::store_first(out, whole, valid); });
    }
    x_vector += t.x_vector, w_vector += t.w_vector;
  }
}

template <class S, class A>
using GroupKernel = void (*)(const GroupTile<S, A>&);

template <class S, class A, int kSources, bool kRepeats, int kTaps, int kStep>
GroupKernel<S, A> group_kernel_of(int64_t pixels) {
  return dispatch_int<1, kGroupPixels<A>>(pixels, [](auto count) -> GroupKernel<S, A> {
    return group_tile<S, A, kSources, kRepeats, kTaps, kStep, count.value>;
  });
}

template <class S, class A, int kSources, bool kRepeats>
GroupKernel<S, A> group_kernel_of(int64_t taps, int64_t step, int64_t pixels) {
  if (step == 2) return group_kernel_of<S, A, kSources, kRepeats, 3, 2>(pixels);
  return dispatch_int<1, kGroupTaps>(taps, [&](auto count) -> GroupKernel<S, A> {
    return group_kernel_of<S, A, kSources, kRepeats, count.value, 1>(pixels);
  });
}

// Of steps that the plan allows. `tables`: padding repeats what the tile sees.
template <class S, class A>
GroupKernel<S, A> group_kernel(int64_t sources, bool tables, int64_t taps, int64_t step,
                               int64_t pixels) {
  return dispatch_int<1, kGroupSources>(sources, [&](auto count) -> GroupKernel<S, A> {
    return tables ? group_kernel_of<S, A, count.value, true>(taps, step, pixels)
                  : group_kernel_of<S, A, count.value, false>(taps, step, pixels);
  });
}

}  // namespace
}  // namespace torchconv::cpu

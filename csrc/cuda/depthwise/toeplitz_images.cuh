// The products of toeplitz.cuh with the images looped inside a block: the fragments of a channel's
// filter are made once for all images of the block, and while one group of images is multiplied the
// next is copied. toeplitz.cuh has the same products in one piece, the text that a GPU has accepted; it
// goes when this takes its place.
#pragma once

#include "cuda/depthwise/row_copies.cuh"
#include "cuda/depthwise/toeplitz.cuh"

namespace torchconv::cuda {

// Filters of three steps leave room for one stage, and have so many products that it is enough.
template <int Steps>
struct ToeplitzImages {
  static constexpr int kStages = Steps == 3 ? 1 : 2;
  static constexpr int kStageBytes = Steps == 3 ? 20 * 1024 : 12800;
  static constexpr int kFilterRows = Steps == 3 ? 32 : 16 * Steps - 7;  // 8 + s - 1 columns
};

struct ToeplitzImagesTask : DepthwiseTask {
  Window window;
  RowCopies copies;
  ToeplitzTiles tiles;
  Divider by_tiles, by_tiles_across;
  int groups, splits;  // of as many images as a block has planes; blocks that share them
  int shift;
  bool pairs;  // two pixels can be stored at once
};

template <int Steps>
using ToeplitzFilter = uint32_t[ToeplitzImages<Steps>::kFilterRows * Steps][kWarp][2];

template <class S, int Steps>
__device__ __forceinline__ void stage_filter(ToeplitzFilter<Steps>& staged,
                                             const ToeplitzImagesTask& t, int channel) {
  const S* const filter = (const S*)t.weight + channel * t.weight_k + t.window.first_tap;
  for (int i = thread_index(); i < t.r * Steps * kWarp * 2; i += kDepthwiseThreads) {
    const int part = i % 2, owner = i / 2 % kWarp, step = i / (2 * kWarp) % Steps;
    const int r = i / (2 * kWarp * Steps);
    uint32_t packed = 0;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int s = 16 * step + 8 * part + 2 * (owner % 4) + e - owner / 4 - t.shift;
      if (s < 0 || s >= t.s) continue;
      packed |= (uint32_t)filter[r * t.window.tap_row + s * t.window.tap_column].bits << 16 * e;
    }
    staged[r * Steps + step][owner][part] = packed;
  }
}

// sums[j]: 16 rows x 8 pixels of the j-th block at `place`.
template <class S, int Steps>
__device__ __forceinline__ void multiply(float (&sums)[kToeplitzBlocks][4], const S* staged,
                                         const ToeplitzFilter<Steps>& filter,
                                         const ToeplitzImagesTask& t, const ToeplitzPlace& place) {
  constexpr int kChunks = kToeplitzBlocks + 2 * Steps - 1;  // of eight columns
  const int lane = thread_index() % kWarp;
  // Lanes 0 to 15 name the 16 rows of one chunk of columns, the others those of the next.
  const bool second = lane / 8 % 2;
  const int plane = second ? place.plane[1] : place.plane[0];
  const int row = (second ? place.row[1] : place.row[0]) + lane % 8;
  const int next = lane / 16 * 8;
  const S* from =
      staged + (plane * t.tiles.staged_rows + row) * t.tiles.staged_stride + place.column + next;
  for (int r = 0; r < t.r; ++r, from += t.tiles.staged_stride) {
    uint32_t chunks[kChunks + 1][2];
#pragma unroll
    for (int i = 0; i < kChunks; i += 2) {
      if (i >= place.blocks + 2 * Steps - 1) continue;
      // The last chunk has no next one: its lanes read it twice.
      const bool last = i + 1 >= place.blocks + 2 * Steps - 1;
      uint32_t m[4];
      load_matrices(m, from + 8 * i - (last ? next : 0));
      chunks[i][0] = m[0], chunks[i][1] = m[1];
      chunks[i + 1][0] = m[2], chunks[i + 1][1] = m[3];
    }
#pragma unroll
    for (int step = 0; step < Steps; ++step) {
      const uint32_t* const right = filter[r * Steps + step][lane];
      const uint32_t right0 = right[0], right1 = right[1];
#pragma unroll
      for (int j = 0; j < kToeplitzBlocks; ++j) {
        if (j >= place.blocks) continue;
        const int i = j + 2 * step;
        const uint32_t a[4] = {chunks[i][0], chunks[i][1], chunks[i + 1][0], chunks[i + 1][1]};
        multiply_16x8x16(sums[j], a, right0, right1, S{});
      }
    }
  }
}

template <class S>
__device__ __forceinline__ void store(const float (&sums)[kToeplitzBlocks][4],
                                      const ToeplitzImagesTask& t, const ToeplitzPlace& place,
                                      int64_t first_image, int channel, int top, int left) {
  const int lane = thread_index() % kWarp;
  const float bias = t.bias ? to_compute(((const S*)t.bias)[channel]) : 0.0f;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int64_t image = first_image + place.plane[i];
    const int row = top + place.row[i] + lane / 4;
    if (image >= t.images || row >= t.height) continue;
    const int first = left + place.column + 2 * (lane % 4);
    S* const to = (S*)t.result + image * t.pixels_at.image + channel * t.pixels_at.channel +
                  row * t.pixels_at.row;
#pragma unroll
    for (int j = 0; j < kToeplitzBlocks; ++j) {
      const int column = first + 8 * j;
      struct alignas(2 * sizeof(S)) Two {
        S at[2];
      } two;
      from_compute(&two.at[0], sums[j][2 * i] + bias);
      from_compute(&two.at[1], sums[j][2 * i + 1] + bias);
      if (t.pairs && column < t.width) {
        *reinterpret_cast<Two*>(to + column) = two;
      } else {
        if (column < t.width) to[column] = two.at[0];
        if (column + 1 < t.width) to[column + 1] = two.at[1];
      }
    }
  }
}

// forward and grad_input: a block computes one tile of every `splits`-th group of images of one
// channel.
template <class S, int Steps>
__global__ __launch_bounds__(kDepthwiseThreads,
                             4) void toeplitz_images_kernel(ToeplitzImagesTask t) {
  using Sizes = ToeplitzImages<Steps>;
  struct Memory {
    alignas(16) S staged[Sizes::kStages][Sizes::kStageBytes / sizeof(S)];
    ToeplitzFilter<Steps> filter;
  };
  Memory& memory = shared_memory<Memory>();
  const ToeplitzTiles& tiles = t.tiles;
  int tile, tile_column;
  const int split = t.by_tiles.divide(block_index().x, tile), channel = block_index().y;
  const int tile_row = t.by_tiles_across.divide(tile, tile_column);
  const int top = tile_row * tiles.rows;
  const int left = tile_column * tiles.across * 8 * kToeplitzBlocks;
  const ToeplitzPlace place = toeplitz_place(tiles, left, t.width);
  const auto stage = [&](S* staged, int64_t group) {
    copy_rows<S>(
        staged, t.copies,
        [&](int i) {
          const int64_t image = group * tiles.planes + i;
          return image < t.images ? (const S*)t.source + image * t.source_at.image +
                                        channel * t.source_at.channel
                                  : nullptr;
        },
        (const S*)t.source, top + t.window.origin_h, left + t.window.origin_w - t.shift,
        t.source_height, t.source_width);
  };

  stage(memory.staged[0], split);
  stage_filter<S, Steps>(memory.filter, t, channel);
  int turn = 0;
  for (int64_t group = split; group < t.groups; group += t.splits) {
    const bool more = group + t.splits < t.groups;
    if (Sizes::kStages == 2) {
      if (more) {
        stage(memory.staged[1 - turn], group + t.splits);
      } else {
        commit_copies();  // none, so that those of this group are the last but one
      }
    }
    wait_copies<Sizes::kStages - 1>();
    sync_block();
    if (place.exists) {
      float sums[kToeplitzBlocks][4] = {};
      multiply<S, Steps>(sums, memory.staged[turn], memory.filter, t, place);
      store<S>(sums, t, place, group * tiles.planes, channel, top, left);
    }
    sync_block();
    if (Sizes::kStages == 1) {
      if (more) stage(memory.staged[0], group + t.splits);
    } else {
      turn = 1 - turn;
    }
  }
}

// Blocks that keep a GPU busy, four for each of 128 multiprocessors; beyond them each takes several
// groups of images, up to kMostGroups. Estimates, to be measured.
constexpr int64_t kEnoughBlocks = 512, kMostGroups = 8;

template <class S, int Steps>
cudaError_t launch_toeplitz_images(const Task& task, cudaStream_t stream) {
  ToeplitzImagesTask t{};
  static_cast<DepthwiseTask&>(t) = depthwise_task(task);
  t.window = window_of(t);
  t.tiles = toeplitz_tiles(t.height, t.width, t.r - 1, Steps, ToeplitzImages<Steps>::kStageBytes);
  t.shift = toeplitz_shift(t.window.origin_w, t.source_width, t.s);
  t.copies = row_copies(t.tiles, copy_bytes(t.source, t.source_width, t.window.origin_w - t.shift));
  const int tiles = t.tiles.tiles_across * t.tiles.tiles_down;
  t.by_tiles = Divider(tiles), t.by_tiles_across = Divider(t.tiles.tiles_across);
  t.pairs = t.width % 2 == 0 && reinterpret_cast<uintptr_t>(t.result) % 4 == 0;
  t.groups = (int)ceil_div(t.images, t.tiles.planes);
  const int64_t blocks = (int64_t)t.groups * tiles * t.channels;
  t.splits = (int)ceil_div(t.groups, larger(1, smaller(kMostGroups, blocks / kEnoughBlocks)));
  const Index3 grid = {t.splits * tiles, t.channels, 1};
  return launch<kDepthwiseThreads>(toeplitz_images_kernel<S, Steps>, grid, stream, t);
}

}  // namespace torchconv::cuda

// How a block multiplies two tiles of shared memory, rows x reduction and columns x reduction, and
// keeps the sums in registers: on the tensor cores (half types, or float32 as TF32), or with fused
// multiply-adds in the dtype itself. Both have 128 threads and the same members.
#pragma once

#include "cuda/device/device.h"

namespace torchconv::cuda {

constexpr int kTileThreads = 128;

// Warps lie side by side: one row of four for tiles of few rows, else two by two.
template <int Rows, int Columns>
struct WarpGrid {
  static constexpr int kDown = Rows >= 64 ? 2 : 1, kAcross = kTileThreads / kWarp / kDown;
  static constexpr int kRows = Rows / kDown, kColumns = Columns / kAcross;
};

// A row of a tile is 64 bytes of the reduction and 16 bytes of air, which lets the eight rows of a
// matrix lie in different banks. Sums are in float32.
template <class S, int Rows, int Columns>
struct TensorCore {
  using Element = S;
  using Sum = float;
  static constexpr int kBlocks = 3;  // that share a multiprocessor: what registers allow
  static constexpr int kVector = Vector<S>::kSize;
  static constexpr int kDepth = 4 * kVector, kStride = kDepth + kVector;
  using Grid = WarpGrid<Rows, Columns>;
  static constexpr int kDown = Grid::kRows / 16, kAcross = Grid::kColumns / 8;

  struct alignas(16) Tile {
    S rows[Rows * kStride], columns[Columns * kStride];
  };

  float sums[kDown][kAcross][4];

  __device__ __forceinline__ TensorCore() {
#pragma unroll
    for (int i = 0; i < kDown; ++i) {
#pragma unroll
      for (int j = 0; j < kAcross; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) sums[i][j][e] = 0;
      }
    }
  }

  // Of either half of the tile: the vector that begins at `depth` in `row`.
  template <int>
  __device__ __forceinline__ static void put(S* half, int row, int depth, const Vector<S>& v) {
    store_vector(half + row * kStride + depth, prepared(v));
  }

  __device__ __forceinline__ void multiply(const Tile& tile) {
    const int lane = thread_index() % kWarp, warp = thread_index() / kWarp;
    // Lanes name the rows of matrices; see load_matrices. Of a: two halves of 16 rows, then of the
    // reduction; of b: two halves of the reduction, then of 16 columns.
    const S* const a = tile.rows + (warp / Grid::kAcross * Grid::kRows + lane % 16) * kStride +
                       lane / 16 * kVector;
    const S* const b =
        tile.columns +
        (warp % Grid::kAcross * Grid::kColumns + lane / 16 * 8 + lane % 8) * kStride +
        lane / 8 % 2 * kVector;
#pragma unroll
    for (int step = 0; step < kDepth; step += 2 * kVector) {
      uint32_t left[kDown][4];
#pragma unroll
      for (int i = 0; i < kDown; ++i) load_matrices(left[i], a + i * 16 * kStride + step);
#pragma unroll
      for (int j = 0; j < kAcross; j += 2) {
        uint32_t right[4];
        load_matrices(right, b + j * 8 * kStride + step);
#pragma unroll
        for (int i = 0; i < kDown; ++i) {
          multiply_add(sums[i][j], left[i], right[0], right[1]);
          multiply_add(sums[i][j + 1], left[i], right[2], right[3]);
        }
      }
    }
  }

  // Calls f(row, column, sum) for each sum of this thread.
  template <class F>
  __device__ __forceinline__ void for_each_sum(const F& f) const {
    const int lane = thread_index() % kWarp, warp = thread_index() / kWarp;
    const int row = warp / Grid::kAcross * Grid::kRows + lane / 4;
    const int column = warp % Grid::kAcross * Grid::kColumns + 2 * (lane % 4);
#pragma unroll
    for (int i = 0; i < kDown; ++i) {
#pragma unroll
      for (int j = 0; j < kAcross; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e)
          f(row + 16 * i + 8 * (e / 2), column + 8 * j + e % 2, sums[i][j][e]);
      }
    }
  }

 private:
  template <class Half>
  __device__ __forceinline__ static Vector<Half> prepared(const Vector<Half>& v) {
    return v;
  }
  __device__ __forceinline__ static Vector<float> prepared(Vector<float> v) {
#pragma unroll
    for (float& x : v.at) x = bits_to_float(to_tf32(x));
    return v;
  }
  __device__ __forceinline__ static void multiply_add(float (&d)[4], const uint32_t (&a)[4],
                                                      uint32_t b0, uint32_t b1) {
    if constexpr (sizeof(S) == 2) {
      multiply_16x8x16(d, a, b0, b1, S{});
    } else {
      multiply_16x8x8_tf32(d, a, b0, b1);
    }
  }
};

// The reduction is the slow index of a tile, so that a thread reads neighbouring rows as vectors.
template <class S, int Rows, int Columns>
struct FusedMultiplyAdd {
  using Element = S;
  using Sum = S;
  static constexpr int kBlocks = sizeof(S) == 4 ? 3 : 2;
  static constexpr int kVector = Vector<S>::kSize;
  static constexpr int kDepth = sizeof(S) == 4 ? 16 : 8;
  static constexpr int kPad = 4, kAcross = 4, kColumnThreads = Columns / kAcross;
  static constexpr int kDown = Rows * kColumnThreads / kTileThreads;

  struct alignas(16) Tile {
    S rows[kDepth * (Rows + kPad)], columns[kDepth * (Columns + kPad)];
  };

  S sums[kDown][kAcross];

  __device__ __forceinline__ FusedMultiplyAdd() {
#pragma unroll
    for (int i = 0; i < kDown; ++i) {
#pragma unroll
      for (int j = 0; j < kAcross; ++j) sums[i][j] = 0;
    }
  }

  template <int Size>
  __device__ __forceinline__ static void put(S* half, int row, int depth, const Vector<S>& v) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) half[(depth + i) * (Size + kPad) + row] = v.at[i];
  }

  __device__ __forceinline__ void multiply(const Tile& tile) {
    const S* const a = tile.rows + thread_index() / kColumnThreads * kDown;
    const S* const b = tile.columns + thread_index() % kColumnThreads * kAcross;
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      S left[kDown], right[kAcross];
      read<kDown>(left, a + k * (Rows + kPad));
      read<kAcross>(right, b + k * (Columns + kPad));
#pragma unroll
      for (int i = 0; i < kDown; ++i) {
#pragma unroll
        for (int j = 0; j < kAcross; ++j) sums[i][j] = fused(left[i], right[j], sums[i][j]);
      }
    }
  }

  template <class F>
  __device__ __forceinline__ void for_each_sum(const F& f) const {
    const int row = thread_index() / kColumnThreads * kDown;
    const int column = thread_index() % kColumnThreads * kAcross;
#pragma unroll
    for (int i = 0; i < kDown; ++i) {
#pragma unroll
      for (int j = 0; j < kAcross; ++j) f(row + i, column + j, sums[i][j]);
    }
  }

 private:
  template <int Count>
  __device__ __forceinline__ static void read(S* to, const S* from) {
#pragma unroll
    for (int i = 0; i < Count; i += kVector) {
      const Vector<S> v = read_vector(from + i);
#pragma unroll
      for (int e = 0; e < kVector; ++e) to[i + e] = v.at[e];
    }
  }
};

}  // namespace torchconv::cuda

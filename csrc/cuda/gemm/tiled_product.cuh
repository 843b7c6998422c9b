// The product of two matrices that exist only tile by tile in shared memory: one tile of it, Rows x
// Columns, for a block. Operands are gathered into registers while the previous tiles are multiplied,
// and put into the other half of a double buffer.
#pragma once

#include "cuda/gemm/multiply.cuh"

namespace torchconv::cuda {

template <class Multiply, int Rows, int Columns>
union ProductMemory {
  typename Multiply::Tile tiles[2];
  struct {
    typename Multiply::Sum sums[Rows][Columns + 1];
    int64_t column_offset[Columns];
  } result;
};

// What one thread carries from global to shared memory: `Count` vectors of each tile of Size rows.
template <class Multiply, class Operand, int Size>
struct Carrier {
  using S = typename Multiply::Element;
  static constexpr int kVectors = Multiply::kDepth / Multiply::kVector;  // of a row
  static constexpr int kTotal = kVectors * Size;
  static constexpr int kCount = (kTotal + kTileThreads - 1) / kTileThreads;

  typename Operand::Row rows[kCount];
  Vector<S> vectors[kCount];

  __device__ __forceinline__ static int row_of(int i) {
    const int index = thread_index() + i * kTileThreads;
    return Operand::kAlongReduction ? index / kVectors : index % Size;
  }
  __device__ __forceinline__ static int depth_of(int i) {
    const int index = thread_index() + i * kTileThreads;
    return (Operand::kAlongReduction ? index % kVectors : index / Size) * Multiply::kVector;
  }
  __device__ __forceinline__ static bool exists(int i) {
    return kTotal % kTileThreads == 0 || thread_index() + i * kTileThreads < kTotal;
  }

  template <class Index>
  __device__ __forceinline__ void prepare(const Operand& operand, Index first_row) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) rows[i] = operand.prepare(first_row + row_of(i));
  }
  __device__ __forceinline__ void load(const Operand& operand, int depth) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (exists(i)) vectors[i] = operand.load(rows[i], depth + depth_of(i));
    }
  }
  __device__ __forceinline__ void put(S* half) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (exists(i)) Multiply::template put<Size>(half, row_of(i), depth_of(i), vectors[i]);
    }
  }
};

// Leaves the product in memory.result.sums. All threads may read it on return.
template <class Multiply, int Rows, int Columns, class Left, class Right, class Index>
__device__ __forceinline__ void multiply_tiles(ProductMemory<Multiply, Rows, Columns>& memory,
                                               const Left& left, int first_row, const Right& right,
                                               Index first_column, int reduction) {
  Multiply multiply;
  Carrier<Multiply, Left, Rows> a;
  Carrier<Multiply, Right, Columns> b;
  a.prepare(left, first_row);
  b.prepare(right, first_column);
  a.load(left, 0);
  b.load(right, 0);
  a.put(memory.tiles[0].rows);
  b.put(memory.tiles[0].columns);
  sync_block();
  int half = 0;
  for (int depth = Multiply::kDepth; depth < reduction; depth += Multiply::kDepth) {
    a.load(left, depth);
    b.load(right, depth);
    multiply.multiply(memory.tiles[half]);
    half ^= 1;
    a.put(memory.tiles[half].rows);
    b.put(memory.tiles[half].columns);
    sync_block();
  }
  multiply.multiply(memory.tiles[half]);
  sync_block();
  multiply.for_each_sum([&](int row, int column, typename Multiply::Sum sum) {
    memory.result.sums[row][column] = sum;
  });
  sync_block();
}

// Adds the bias and puts memory.result where memory.result.column_offset says: rows from `first_row`
// on, of which there are `rows`; `channel` is that of row 0.
template <class S, bool ChannelsLast, class Multiply, int Rows, int Columns>
__device__ __forceinline__ void store_sums(const ProductMemory<Multiply, Rows, Columns>& memory,
                                           int first_row, int rows, int channel,
                                           int64_t channel_stride, const void* bias, void* result) {
  for (int i = thread_index(); i < Rows * Columns; i += kTileThreads) {
    const int row = ChannelsLast ? i % Rows : i / Columns;
    const int column = ChannelsLast ? i / Rows : i % Columns;
    const int64_t offset = memory.result.column_offset[column];
    if (first_row + row >= rows || offset < 0) continue;
    const int k = channel + first_row + row;
    Compute<S> sum = memory.result.sums[row][column];
    if (bias) sum += to_compute(((const S*)bias)[k]);
    from_compute((S*)result + offset + k * channel_stride, sum);
  }
}

}  // namespace torchconv::cuda

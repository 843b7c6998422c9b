// The most frequent quads (quads.h): windows of one channel in contiguous planes, for kernels of 3, 5 and 7 rows and
// stride 1 or 2. Where the level loads any bytes of a vector, no patch is made: rows are read where they lie, padding
// is left out of the load. Weights stay in registers, a source row serves all output rows of a tile that see it, and
// of planes with short rows two share a vector:
//
//     [ q q q q q q q . | q q q q q q q . ]    rows of two neighbouring planes, each with its own weights
#pragma once

#include "cpu/common/dispatch.h"
#include "cpu/integer/plan.h"
#include "cpu/simd/dot.h"

namespace torchconv::cpu {
namespace {

// Some output rows of one plane or two. Distances in bytes.
template <class D>
struct PlaneTile {
  const uint8_t *planes[2], *zeros;
  int64_t top, height;            // source row of the first tap; rows of a plane
  int64_t row_pitch, down;        // from row to row; rows from one tap row to the next
  int64_t column, vectors_apart;  // from a row to what the first vector reads, and to the next one
  typename D::Span spans[D::kQuadVectors];
  typename D::Window windows[2];  // of each quad of a kernel row
  typename D::Vec flips;
  const char *weights[2], *starts[2];
  int64_t weight_step;
  char* sums[2];
  int64_t outputs_apart, valid;  // columns: of all vectors
};

template <class D, int kPlanes>
typename D::Vec broadcast_each(const char* const (&p)[2], int64_t at) {
  if constexpr (kPlanes == 1) return D::broadcast(p[0] + at);
  return D::halves(D::broadcast(p[0] + at), D::broadcast(p[1] + at));
}

template <class D, int kRows, int kShift, int kPlanes, int kOutputs, int kVectors>
void sum_planes(const PlaneTile<D>& t) {
  constexpr int kQuads = kRows > 4 ? 2 : 1;  // of a kernel row
  typename D::Vec sums[kOutputs][kVectors];
  typename D::Four weights[kRows * kQuads];
  const typename D::Vec start = broadcast_each<D, kPlanes>(t.starts, 0);
#pragma GCC unroll 4
  for (int i = 0; i < kOutputs; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[i][v] = start;
  }
#pragma GCC unroll 14
  for (int i = 0; i < kRows * kQuads; ++i)
    weights[i] = D::signed_four(broadcast_each<D, kPlanes>(t.weights, i * t.weight_step));
#pragma GCC unroll 13
  for (int row = 0; row < (kOutputs - 1) * kShift + kRows; ++row) {
    const int64_t y = t.top + row * t.down;
    const bool real = y >= 0 && y < t.height;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      typename D::Vec bytes[kPlanes];
#pragma GCC unroll 2
      for (int i = 0; i < kPlanes; ++i) {
        const uint8_t* const from = real ? t.planes[i] + y * t.row_pitch : t.zeros;
        bytes[i] = D::load_span(from + t.column + v * t.vectors_apart, t.spans[v], t.flips);
      }
#pragma GCC unroll 2
      for (int b = 0; b < kQuads; ++b) {
        const typename D::Four four = D::four(D::windows_of(bytes, t.windows[b]));
#pragma GCC unroll 4
        for (int i = 0; i < kOutputs; ++i) {
          const int r = row - i * kShift;
          if (r >= 0 && r < kRows)
            sums[i][v] = D::add_fours(sums[i][v], four, weights[r * kQuads + b]);
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kOutputs; ++i) {
    if constexpr (kPlanes == 2) {
      D::store_first(t.sums[0] + i * t.outputs_apart, sums[i][0], t.valid);
      D::store_second(t.sums[1] + i * t.outputs_apart, sums[i][0], t.valid);
      continue;
    }
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      D::store_first(t.sums[0] + i * t.outputs_apart + v * 4 * D::kLanes, sums[i][v],
                     t.valid - v * D::kLanes);
    }
  }
}

// Vectors of a tile: as many as leave registers for the weights.
template <class D>
constexpr int plane_vectors(int rows) {
  return rows == 3 ? D::kQuadVectors : 2;
}

template <class D, int kRows, int kShift>
void sum_planes(const PlaneTile<D>& t, bool two, int64_t outputs, int64_t vectors) {
  dispatch_int<1, D::kOutputs>(outputs, [&](auto count) {
    if (two) return sum_planes<D, kRows, kShift, 2, count.value, 1>(t);
    dispatch_int<1, plane_vectors<D>(kRows)>(
        vectors, [&](auto wide) { sum_planes<D, kRows, kShift, 1, count.value, wide.value>(t); });
  });
}

template <class D>
void sum_planes(const PlaneTile<D>& t, int64_t rows, int64_t shift, bool two, int64_t outputs,
                int64_t vectors) {
  const auto run = [&](auto of_rows) {
    constexpr int kRows = decltype(of_rows)::value;
    shift == 1 ? sum_planes<D, kRows, 1>(t, two, outputs, vectors)
               : sum_planes<D, kRows, 2>(t, two, outputs, vectors);
  };
  if (rows == 3) return run(std::integral_constant<int, 3>());
  if (rows == 5) return run(std::integral_constant<int, 5>());
  run(std::integral_constant<int, 7>());
}

// Output rows [first_row, first_row + rows) of image n, for the planes `loads` of the source.
template <class D>
void integer_planes(const Task& task, const IntegerPlan& plan, int64_t n, Range loads,
                    int64_t first_row, int64_t rows, const char* packed, const uint8_t* zeros) {
  const Quads& quads = plan.quads;
  const Axis &down = plan.gather.rows, &across = plan.gather.columns;
  const int64_t k = plan.gather.dst_channels, width = across.dst_size;
  const int64_t source_plane = down.src_size * across.src_size;
  const bool short_rows = 2 * width <= D::kLanes;
  PlaneTile<D> tile{};
  tile.zeros = zeros, tile.height = down.src_size;
  tile.row_pitch = across.src_size, tile.down = down.dilation;
  tile.vectors_apart = D::kLanes * across.src_step;
  tile.flips = D::bytes((int)plan.offset);
  tile.weight_step = quads.start_bytes, tile.outputs_apart = 4 * width;
  const int64_t tiles = ceil_div(rows, quads.outputs);
  for (int64_t unit = loads.begin * k, count; unit < loads.end * k; unit += count) {
    count = short_rows ? smaller(2, loads.end * k - unit) : 1;
    const bool two = count == 2;
    for (int b = 0; b < 2; ++b)
      tile.windows[b] = D::window(across.src_step, across.dilation, b, two);
    char* results[2];
    for (int64_t i = 0; i < count; ++i) {
      const int64_t channel = unit + i;
      tile.planes[i] =
          (const uint8_t*)task.input + (n * plan.gather.groups + channel / k) * source_plane;
      tile.weights[i] = packed + channel * quads.unit_bytes;
      tile.starts[i] = packed + quads.units * quads.unit_bytes + channel * quads.start_bytes;
      results[i] =
          (char*)task.result + 4 * (n * plan.gather.groups * k + channel) * down.dst_size * width;
    }
    const int64_t most = plane_vectors<D>((int)down.kernel);
    for (int64_t q = 0; q < width; q += most * D::kLanes) {
      const int64_t vectors = smaller(most, ceil_div(width - q, D::kLanes));
      tile.column = q * across.src_step - across.padding, tile.valid = width - q;
      for (int64_t v = 0; v < vectors; ++v) {
        const int64_t column = tile.column + v * tile.vectors_apart;
        tile.spans[v] = D::span(-column, across.src_size - column);
      }
      for (int64_t i = 0; i < tiles; ++i) {
        const Range part = share(i, tiles, rows);
        const int64_t row = first_row + part.begin;
        tile.top = row * down.src_step - down.padding;
        for (int64_t j = 0; j < count; ++j) tile.sums[j] = results[j] + 4 * (row * width + q);
        sum_planes(tile, down.kernel, quads.shift, two, part.end - part.begin, vectors);
      }
    }
  }
}

}  // namespace
}  // namespace torchconv::cpu

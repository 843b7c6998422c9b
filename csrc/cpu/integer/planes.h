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
  int64_t outputs_apart;
  typename D::Lanes stored[D::kQuadVectors];  // of each vector, or of each of two planes
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
  char *out = t.sums[0], *second = t.sums[1];
  const int64_t apart = t.outputs_apart;
  typename D::Lanes stored[D::kQuadVectors];
  __builtin_memcpy(stored, t.stored, sizeof(stored));
#pragma GCC unroll 4
  for (int i = 0; i < kOutputs; ++i, out += apart, second += apart) {
    if constexpr (kPlanes == 2) {
      D::store_lanes(out, sums[i][0], stored[0]);
      D::store_lanes(second - 2 * D::kLanes, sums[i][0], stored[1]);
    } else {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v)
        D::store_lanes(out + v * 4 * D::kLanes, sums[i][v], stored[v]);
    }
  }
}

// Vectors of a tile: as many as leave registers for the weights.
template <class D>
constexpr int plane_vectors(int rows) {
  return rows == 3 ? D::kQuadVectors : 2;
}

template <class D>
using PlaneKernel = void (*)(const PlaneTile<D>&);

template <class D, int kRows, int kShift>
PlaneKernel<D> plane_kernel(bool two, int64_t outputs, int64_t vectors) {
  return dispatch_int<1, D::kOutputs>(outputs, [&](auto count) -> PlaneKernel<D> {
    constexpr int kOutputs = decltype(count)::value;
    if (two) return sum_planes<D, kRows, kShift, 2, kOutputs, 1>;
    return dispatch_int<1, plane_vectors<D>(kRows)>(vectors, [](auto wide) -> PlaneKernel<D> {
      return sum_planes<D, kRows, kShift, 1, kOutputs, decltype(wide)::value>;
    });
  });
}

template <class D>
PlaneKernel<D> plane_kernel(const IntegerPlan& plan, bool two, int64_t outputs, int64_t vectors) {
  const auto of = [&](auto rows) {
    constexpr int kRows = decltype(rows)::value;
    return plan.quads.shift == 1 ? plane_kernel<D, kRows, 1>(two, outputs, vectors)
                                 : plane_kernel<D, kRows, 2>(two, outputs, vectors);
  };
  const int64_t rows = plan.gather.rows.kernel;
  if (rows == 3) return of(std::integral_constant<int, 3>());
  if (rows == 5) return of(std::integral_constant<int, 5>());
  return of(std::integral_constant<int, 7>());
}

// Output rows [first_row, first_row + rows) of some output channels of image n.
template <class D>
struct IntegerPlanes {
  const Task& task;
  const IntegerPlan& plan;
  int64_t n, first_row;
  Cut tiles;
  int64_t last;  // rows of the last tile
  const char* packed;
  const uint8_t* zeros;

  IntegerPlanes(const Task& task, const IntegerPlan& plan, int64_t n, int64_t first_row,
                int64_t rows, const char* packed, const uint8_t* zeros)
      : task(task), plan(plan), n(n), first_row(first_row), packed(packed), zeros(zeros) {
    tiles = Cut::into(ceil_div(rows, D::kOutputs), rows);
    last = tiles.length(tiles.count - 1, rows);
  }

  void run(Range channels) const {
    const Axis& axis = plan.gather.columns;
    const int64_t width = axis.dst_size;
    const int64_t most = plane_vectors<D>((int)plan.gather.rows.kernel) * D::kLanes;
    const int64_t in_pairs = 2 * width <= D::kLanes ? (channels.end - channels.begin) / 2 * 2 : 0;
    const Range pairs = {channels.begin, channels.begin + in_pairs};
    PlaneTile<D> tile{};
    tile.zeros = zeros, tile.height = plan.gather.rows.src_size;
    tile.row_pitch = axis.src_size, tile.down = plan.gather.rows.dilation;
    tile.vectors_apart = D::kLanes * axis.src_step;
    tile.flips = D::bytes((int)plan.offset);
    tile.weight_step = plan.quads.start_bytes, tile.outputs_apart = 4 * width;
    for (int64_t q = 0; q < width; q += most) {
      const int64_t columns = smaller(most, width - q), vectors = ceil_div(columns, D::kLanes);
      tile.column = q * axis.src_step - axis.padding;
      for (int64_t v = 0; v < vectors; ++v) {
        const int64_t column = tile.column + v * tile.vectors_apart;
        tile.spans[v] = D::span(-column, axis.src_size - column);
        tile.stored[v] = D::lanes(0, columns - v * D::kLanes);
      }
      run_channels(tile, 1, vectors, q, {pairs.end, channels.end});
      if (in_pairs) {
        tile.stored[1] = D::lanes(D::kLanes / 2, D::kLanes / 2 + columns);
        run_channels(tile, 2, 1, q, pairs);
      }
    }
  }

  // Columns of the result from q on, so many channels at once.
  void run_channels(PlaneTile<D> tile, int64_t together, int64_t vectors, int64_t q,
                    Range channels) const {
    const Quads& quads = plan.quads;
    const Axis &down = plan.gather.rows, &across = plan.gather.columns;
    const int64_t k = plan.gather.dst_channels, source = down.src_size * across.src_size;
    const bool two = together == 2;
    for (int b = 0; b < 2; ++b) {
      tile.windows[b] = D::window(across.src_step, across.dilation, b, two);
    }
    const PlaneKernel<D> whole = plane_kernel<D>(plan, two, tiles.size, vectors),
                         rest = plane_kernel<D>(plan, two, last, vectors);
    const int64_t tile_rows = tiles.size * down.src_step, row = 4 * across.dst_size;
    for (int64_t channel = channels.begin; channel < channels.end; channel += together) {
      for (int64_t i = 0; i < together; ++i) {
        const int64_t one = channel + i, plane = k == 1 ? one : one / k;
        tile.planes[i] = (const uint8_t*)task.input + (n * plan.gather.groups + plane) * source;
        tile.weights[i] = packed + one * quads.unit_bytes;
        tile.starts[i] = packed + quads.units * quads.unit_bytes + one * quads.start_bytes;
        tile.sums[i] = (char*)task.result +
                       ((n * plan.gather.groups * k + one) * down.dst_size + first_row) * row +
                       4 * q;
      }
      tile.top = first_row * down.src_step - down.padding;
      for (int64_t i = 1; i < tiles.count; ++i) {
        whole(tile);
        tile.top += tile_rows;
        for (char*& sums : tile.sums) sums += tiles.size * row;
      }
      rest(tile);
    }
  }
};

}  // namespace
}  // namespace torchconv::cpu

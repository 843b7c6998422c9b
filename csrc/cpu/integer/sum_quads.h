// One job over quads: see quads.h.
#pragma once

#include "cpu/common/dispatch.h"
#include "cpu/integer/load_quads.h"
#include "cpu/integer/pack_quads.h"
#include "cpu/integer/planes.h"
#include "cpu/integer/three_rows.h"

namespace torchconv::cpu {
namespace {

// Lanes are channels, columns of quads, or columns of bytes, whose windows are quads.
enum class QuadLanes { kChannels, kColumns, kWindows };

template <bool kOfLanes>
inline Dot::Vec of_lanes(const char* p) {
  return kOfLanes ? Dot::load(p) : Dot::broadcast(p);
}

template <QuadLanes kOf, int kOutputs, int kVectors>
void sum_quads(const QuadTile& tile) {
  constexpr bool kOfLanes = kOf == QuadLanes::kChannels;
  constexpr int64_t kStep = kOfLanes ? 4 * Dot::kLanes : 4;
  Dot::Vec sums[kOutputs][kVectors];
#pragma GCC unroll 4
  for (int i = 0; i < kOutputs; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[i][v] = of_lanes<kOfLanes>(tile.starts + i * kStep);
  }
  const char* weights = tile.weights;
  for (int64_t term = 0; term < tile.terms; ++term, weights += tile.weight_step) {
    const char* const pixels = tile.pixels + tile.offsets[term];
    Dot::Four factors[kOutputs];
#pragma GCC unroll 4
    for (int i = 0; i < kOutputs; ++i)
      factors[i] = Dot::signed_four(of_lanes<kOfLanes>(weights + i * kStep));
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const char* const at = pixels + v * tile.pixels_apart;
      Dot::Vec quads;
      if constexpr (kOf == QuadLanes::kWindows) {
        quads = Dot::windows(at, tile.window);
      } else {
        quads = Dot::load(at);
      }
      const Dot::Four four = Dot::four(quads);
#pragma GCC unroll 4
      for (int i = 0; i < kOutputs; ++i) sums[i][v] = Dot::add_fours(sums[i][v], four, factors[i]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kOutputs; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store_quads<kOfLanes>(tile, i, v, sums[i][v]);
  }
}

template <QuadLanes kOf>
void sum_quads(const QuadTile& tile, int64_t outputs, int64_t vectors) {
  dispatch_int<1, Dot::kOutputs>(outputs, [&](auto count) {
    dispatch_int<1, Dot::kQuadVectors>(
        vectors, [&](auto wide) { sum_quads<kOf, count.value, wide.value>(tile); });
  });
}

// Output rows of one image, of some of its loads.
struct QuadRows {
  const Task& task;
  const IntegerPlan& plan;
  QuadLoader loader;
  int64_t n, first_row, rows;
  char* patch;
  int64_t* offsets;
  const char* packed;
  Dot::Window window;

  const Gather& gather() const { return plan.gather; }
  bool last() const { return gather().layout == Layout::kChannelsLast; }
  int64_t width() const { return gather().columns.dst_size; }
  int64_t channels() const { return gather().groups * gather().dst_channels; }

  // Where the patch has what a term multiplies, from that of the first.
  void make_offsets() const {
    const Quads& quads = plan.quads;
    const Axis& axis = gather().columns;
    const int64_t lines = quads.terms / (quads.of == Quads::Of::kWindows ? 1 : axis.kernel);
    const int64_t rows = plan.source_rows(plan.rows.size), down = gather().rows.dilation;
    int64_t* out = offsets;
    for (int64_t i = 0; i < lines; ++i) {
      int64_t line = i;  // [channel][block], of rows
      if (quads.of == Quads::Of::kChannels)
        line = i % quads.blocks * rows + i / quads.blocks * down;
      if (quads.of == Quads::Of::kWindows) {
        const int64_t taps = quads.terms / gather().src_channels;
        *out++ = (i / taps * rows + i % taps * down) * quads.line_bytes;
        continue;
      }
      for (int64_t s = 0; s < axis.kernel; ++s) {
        const int64_t x = s * axis.dilation;
        const int64_t column = x % quads.residues * quads.columns + x / quads.residues;
        *out++ = line * quads.line_bytes + 4 * column * quads.lanes;
      }
    }
  }

  char* result(int64_t channel, int64_t row) const {
    const int64_t height = gather().rows.dst_size, image = n * channels() * height * width();
    return (char*)task.result + 4 * (last() ? image + row * width() * channels() + channel
                                            : image + (channel * height + row) * width());
  }

  // One row of columns, or as many as the outputs of a unit are.
  void sum(const char* pixels, int64_t unit, int64_t lane, char* out, int64_t outputs) const {
    const Quads& quads = plan.quads;
    QuadTile tile{};
    tile.offsets = offsets, tile.terms = quads.terms;
    tile.weights = packed + unit * quads.unit_bytes;
    tile.starts = packed + quads.units * quads.unit_bytes + unit * quads.start_bytes;
    tile.weight_step = quads.start_bytes;
    const int64_t in_row = last() ? channels() : 1;
    tile.outputs_apart =
        4 * width() * (quads.of == Quads::Of::kChannels ? gather().rows.dst_size : in_row);
    if (last()) {
      tile.pixels_apart = 4 * gather().columns.src_step * quads.lanes;
      tile.sums_apart = 4 * channels();
      tile.valid = smaller(Dot::kLanes, channels() - unit * Dot::kLanes);
      for (int64_t q = 0; q < width(); q += Dot::kQuadVectors) {
        tile.pixels = pixels + 4 * lane + q * tile.pixels_apart;
        tile.sums = out + q * tile.sums_apart;
        sum_quads<QuadLanes::kChannels>(tile, outputs, smaller(Dot::kQuadVectors, width() - q));
      }
      return;
    }
    tile.sums_apart = 4 * Dot::kLanes;
    if (quads.of == Quads::Of::kWindows) {
      tile.pixels_apart = Dot::kLanes * gather().columns.src_step;
      tile.window = window;
      sum_columns<QuadLanes::kWindows>(tile, pixels, out, outputs);
    } else {
      tile.pixels_apart = 4 * Dot::kLanes;
      sum_columns<QuadLanes::kColumns>(tile, pixels, out, outputs);
    }
  }

  template <QuadLanes kOf>
  void sum_columns(QuadTile& tile, const char* pixels, char* out, int64_t outputs) const {
    for (int64_t q = 0; q < width(); q += Dot::kQuadVectors * Dot::kLanes) {
      tile.pixels = pixels + q / Dot::kLanes * tile.pixels_apart;
      tile.sums = out + 4 * q, tile.valid = width() - q;
      const int64_t vectors = ceil_div(tile.valid, Dot::kLanes);
      const int64_t some = smaller(Dot::kQuadVectors, vectors);
      if (kOf == QuadLanes::kWindows && plan.quads.three_rows) {
        const bool even = plan.quads.shift == 2;
        even ? sum_three_rows<2>(tile, outputs, some) : sum_three_rows<1>(tile, outputs, some);
      } else {
        sum_quads<kOf>(tile, outputs, some);
      }
    }
  }

  void quads_of_rows(int64_t load) const {
    const Quads& quads = plan.quads;
    const int64_t first = load * quads.lanes, k = gather().dst_channels;
    for (int64_t p = 0; p < rows; p += quads.outputs) {
      const int64_t outputs = smaller(quads.outputs, rows - p), row = first_row + p;
      if (last()) {
        const int64_t count = smaller(quads.lanes, channels() - first);
        loader.load_rows(row, first, count, patch);
        for (int64_t i = 0; i < count; i += Dot::kLanes) {
          sum(patch, (first + i) / Dot::kLanes, i, result(first + i, row), outputs);
        }
        continue;
      }
      loader.load_rows(row, load * gather().src_channels, gather().src_channels, patch);
      for (int64_t i = load * k; i < (load + 1) * k; ++i) sum(patch, i, 0, result(i, row), outputs);
    }
  }

  void windows(int64_t load) const {
    const int64_t k = gather().dst_channels, outputs = plan.quads.outputs;
    loader.load_windows(first_row, rows, load * gather().src_channels, patch);
    for (int64_t i = load * k; i < (load + 1) * k; ++i) {
      for (int64_t p = 0; p < rows; p += outputs) {
        const char* const pixels = patch + p * gather().rows.src_step * plan.quads.line_bytes;
        sum(pixels, i, 0, result(i, first_row + p), smaller(outputs, rows - p));
      }
    }
  }

  void quads_of_channels(int64_t load) const {
    const Quads& quads = plan.quads;
    const int64_t down = gather().rows.src_step * quads.line_bytes;
    if (last()) {
      loader.load_pixels(first_row, rows, load, patch);
      for (int64_t p = 0; p < rows; ++p) {
        sum(patch + p * down, load, 0, result(load * Dot::kLanes, first_row + p), 1);
      }
      return;
    }
    loader.load_planes(first_row, rows, load, patch);
    const int64_t k = gather().dst_channels, units = ceil_div(k, quads.outputs);
    for (int64_t i = 0; i < units; ++i) {
      const int64_t channel = i * quads.outputs, outputs = smaller(quads.outputs, k - channel);
      for (int64_t p = 0; p < rows; ++p) {
        char* const out = result(load * k + channel, first_row + p);
        sum(patch + p * down, load * units + i, 0, out, outputs);
      }
    }
  }
};

template <class D>
void integer_quads(const Task& task, const IntegerPlan& plan, const Job& job) {
  const Gather& gather = plan.gather;
  const Quads& quads = plan.quads;
  if (job.stage == 0) {
    const int64_t jobs = plan.pack_jobs;
    return pack_quads(task, plan, share(job.index, jobs, quads.units), job.shared);
  }
  const int64_t piece = job.index % plan.pieces, rest = job.index / plan.pieces;
  const int64_t part = rest % plan.rows.count, n = rest / plan.rows.count;
  const Strides strides = dense(gather.layout, gather.groups * gather.src_channels,
                                gather.rows.src_size, gather.columns.src_size);
  char* const line = job.scratch + plan.patch_bytes;
  char* const zeros = line + plan.row_bytes;
  __builtin_memset(zeros, 0, (size_t)quads.spare_bytes);
  const Range loads = share(piece, plan.pieces, quads.loads);
  if constexpr (D::kLoadsSpans) {
    if (quads.planes) {
      const IntegerPlanes<D> planes(task, plan, n, plan.rows.begin(part),
                                    plan.rows.length(part, gather.rows.longest), job.shared,
                                    (const uint8_t*)zeros);
      return planes.run({loads.begin * gather.dst_channels, loads.end * gather.dst_channels});
    }
  }
  const Range real = inside(-gather.columns.padding, 1, quads.wanted, gather.columns.src_size);
  const QuadLoader loader{
      plan, (const uint8_t*)task.input + n * strides.image, strides, line, (const uint8_t*)zeros,
      real};
  const QuadRows rows{task,
                      plan,
                      loader,
                      n,
                      plan.rows.begin(part),
                      plan.rows.length(part, gather.rows.longest),
                      job.scratch,
                      (int64_t*)(zeros + quads.spare_bytes),
                      job.shared,
                      Dot::window(gather.columns.src_step, gather.columns.dilation)};
  rows.make_offsets();
  for (int64_t i = loads.begin; i < loads.end; ++i) {
    if (quads.of == Quads::Of::kRows) {
      rows.quads_of_rows(i);
    } else if (quads.of == Quads::Of::kWindows) {
      rows.windows(i);
    } else {
      rows.quads_of_channels(i);
    }
  }
}

}  // namespace
}  // namespace torchconv::cpu

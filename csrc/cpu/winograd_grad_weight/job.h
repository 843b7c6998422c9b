// One job of winograd_grad_weight: see algorithm.cpp.
#pragma once

#include <type_traits>

#include "cpu/common/ordered_sum.h"
#include "cpu/common/register_tile.h"
#include "cpu/winograd_grad_weight/load.h"
#include "cpu/winograd_grad_weight/store.h"

namespace torchconv::cpu {
namespace {

// What the parts of a thread's scratch memory hold.
struct WinogradScratch {
  int64_t *input_offset, *grad_offset;  // [tile of a pass]
  float *patch, *input, *grad, *products, *sums;

  WinogradScratch(const WinogradGradWeightPlan& plan, char* scratch) {
    input_offset = (int64_t*)scratch;
    grad_offset = input_offset + plan.pass_tiles;
    patch = (float*)(input_offset + plan.tables());
    input = patch + plan.size.input_patch + plan.size.grad_patch;
    grad = input + plan.size.input;
    products = grad + plan.size.grad;
    sums = products + plan.size.products;
    for (int64_t t = 0; t < plan.pass_tiles; ++t) {
      input_offset[t] = t * plan.c.size, grad_offset[t] = t * plan.k.size;
    }
  }
};

template <class S>
struct WinogradSums {
  const Task& task;
  const WinogradGradWeightPlan& plan;
  const int64_t c_block, k_block;
  const WinogradScratch scratch;

  WinogradSums(const Task& task, const WinogradGradWeightPlan& plan, int64_t block, char* scratch)
      : task(task),
        plan(plan),
        c_block(block / plan.k.count),
        k_block(block % plan.k.count),
        scratch(plan, scratch) {}

  // sums [tap][c][k] = these tile rows of the images [n_begin, n_end)
  void compute(int64_t n_begin, int64_t n_end, Range rows, float* sums) const {
    Sum sum = Sum::kStart;
    int64_t waiting = 0;
    const auto multiply = [&] {
      multiply_tiles(waiting, sum);
      waiting = 0, sum = Sum::kAdd;
    };
    for (int64_t n = n_begin; n < n_end; ++n) {
      for (int64_t row = rows.begin; row < rows.end; ++row) {
        for (int64_t column = 0, tiles; column < plan.tile_columns; column += tiles) {
          tiles = smaller(smaller(plan.run_tiles, plan.tile_columns - column),
                          plan.pass_tiles - waiting);
          load_run<S>(task, plan, c_block, k_block, {n, row, column, tiles}, waiting, scratch.patch,
                      scratch.input, scratch.grad);
          waiting += tiles;
          if (waiting == plan.pass_tiles) multiply();
        }
      }
    }
    if (waiting || sum == Sum::kStart) multiply();
    sum_points(scratch.products, plan.c.size * plan.k.size, sums);
  }

  // products [point][c][k] (+)= the tiles of a pass
  void multiply_tiles(int64_t tiles, Sum sum) const {
    using Plan = WinogradGradWeightPlan;
    const int64_t inputs = plan.c.length(c_block, task.shape.c);
    const int64_t outputs = plan.k.length(k_block, task.shape.k);
    const int64_t slab = plan.k.size % 48 == 0 ? 48 : 32;
    Tile<float> tile;
    tile.taps = {tiles};
    tile.offset = scratch.input_offset;
    tile.b_offset = scratch.grad_offset;
    tile.a_row = 1;
    tile.c_row = plan.k.size;
    tile.sum = sum;
    for (int64_t point = 0; point < Plan::kPoints; ++point) {
      tile.a = scratch.input + point * plan.pitch.input;
      for (int64_t k = 0; k < outputs; k += slab) {
        tile.b = scratch.grad + point * plan.pitch.grad + k;
        tile.c = scratch.products + point * plan.c.size * plan.k.size + k;
        run_rows<float, Steps::kTables>(tile, inputs, smaller(slab, outputs - k));
      }
    }
  }
};

template <class S>
void winograd_grad_weight_job(const Task& task, const Job& job,
                              const WinogradGradWeightPlan& plan) {
  const int64_t block = job.index % plan.blocks;
  const WinogradSums<S> sums(task, plan, block, job.scratch);
  const auto store = [&](const float* from) {
    store_block<S>(task, plan, sums.c_block, sums.k_block, from);
  };
  if (plan.chunks.whole_batch()) {
    sums.compute(0, task.shape.n, {0, plan.tile_rows}, sums.scratch.sums);
    return store(sums.scratch.sums);
  }
  const WaveSums<float> wave(plan.chunks, task.shape.n, plan.blocks * plan.block_size(), job);
  const int64_t at = block * plan.block_size();
  if (job.stage == 0) {
    const int64_t in_wave = job.index / plan.blocks;
    if (in_wave >= wave.waiting()) return;
    const SampleChunk chunk = wave.chunk(in_wave);
    return sums.compute(chunk.image_begin, chunk.image_end, chunk.share_of(plan.tile_rows),
                        wave.partial(in_wave) + at);
  }
  if (const float* const total = add_wave(wave, at, plan.block_size())) store(total);
}

inline void winograd_grad_weight(const Task& task, const Job& job) {
  const auto& plan = *(const WinogradGradWeightPlan*)job.details;
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    // A plan is never made for float64.
    if constexpr (!std::is_same_v<S, double>) winograd_grad_weight_job<S>(task, job, plan);
  });
}

}  // namespace
}  // namespace torchconv::cpu

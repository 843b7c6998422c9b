// One job of winograd_grad_weight: see algorithm.cpp.
#pragma once

#include <type_traits>

#include "cpu/common/ordered_sum.h"
#include "cpu/winograd_grad_weight/load.h"
#include "cpu/winograd_grad_weight/products.h"
#include "cpu/winograd_grad_weight/store.h"

namespace torchconv::cpu {
namespace {

template <class S>
struct WinogradGradWeightJob {
  const Task& task;
  const WinogradGradWeightPlan& plan;
  const int64_t c_block, k_block;
  const WinogradScratch scratch;

  WinogradGradWeightJob(const Task& task, const WinogradGradWeightPlan& plan, int64_t block,
                        char* memory)
      : task(task),
        plan(plan),
        c_block(block / plan.grad.cut.count),
        k_block(block % plan.grad.cut.count),
        scratch(plan, memory) {}

  // sums [tap][c][k] = the tiles [begin, end) of the batch
  void sum(Range range, float* sums) const {
    const int64_t inputs = plan.input.cut.length(c_block, plan.input.channels);
    const int64_t outputs = plan.grad.cut.length(k_block, plan.grad.channels);
    for (int64_t begin = range.begin, end; begin < range.end; begin = end) {
      end = smaller(begin + plan.pass_tiles, range.end);
      load_tiles<S, kWinogradSource>(plan, plan.input, task.input, c_block, {begin, end},
                                     scratch.patch, scratch.input);
      load_tiles<S, kWinogradGrad>(plan, plan.grad, task.grad, k_block, {begin, end}, scratch.patch,
                                   scratch.grad);
      multiply_tiles(plan, scratch, inputs, outputs, end - begin,
                     begin == range.begin ? Sum::kStart : Sum::kAdd);
    }
    sum_points(scratch.products, plan.channels_of_block(), sums);
  }

  // The tiles of all rows of several images, or of some rows of one.
  Range tiles_of(const SampleChunk& chunk) const {
    const Range rows = chunk.share_of(plan.tile_rows);
    const int64_t last = chunk.image_end - 1;
    return {(chunk.image_begin * plan.tile_rows + rows.begin) * plan.tile_columns,
            (last * plan.tile_rows + rows.end) * plan.tile_columns};
  }

  void store(const float* sums) const { store_block<S>(task, plan, c_block, k_block, sums); }
};

template <class S>
void winograd_grad_weight_job(const Task& task, const Job& job,
                              const WinogradGradWeightPlan& plan) {
  const WinogradGradWeightJob<S> block(task, plan, job.index % plan.blocks, job.scratch);
  if (plan.chunks.whole_batch()) {
    block.sum({0, task.shape.n * plan.tiles()}, block.scratch.sums);
    return block.store(block.scratch.sums);
  }
  const WaveSums<float> wave(plan.chunks, task.shape.n, plan.blocks * plan.block_size(), job);
  const int64_t at = job.index % plan.blocks * plan.block_size();
  if (job.stage == 0) {
    const int64_t in_wave = job.index / plan.blocks;
    if (in_wave >= wave.waiting()) return;
    return block.sum(block.tiles_of(wave.chunk(in_wave)), wave.partial(in_wave) + at);
  }
  if (const float* const total = add_wave(wave, at, plan.block_size())) block.store(total);
}

inline void winograd_grad_weight(const Task& task, const Job& job) {
  const auto& plan = *(const WinogradGradWeightPlan*)job.details;
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    // No plan is made for float64.
    if constexpr (!std::is_same_v<S, double>) winograd_grad_weight_job<S>(task, job, plan);
  });
}

}  // namespace
}  // namespace torchconv::cpu

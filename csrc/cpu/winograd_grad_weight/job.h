// One job of winograd_grad_weight: see algorithm.cpp.
#pragma once

#include <type_traits>

#include "cpu/common/ordered_sum.h"
#include "cpu/winograd_grad_weight/load.h"
#include "cpu/winograd_grad_weight/products.h"
#include "cpu/winograd_grad_weight/store.h"

namespace torchconv::cpu {
namespace {

template <class F, class S>
struct WinogradGradWeightJob {
  using Plan = WinogradGradWeightPlan;

  const Task& task;
  const Plan& plan;
  const WinogradScratch scratch;

  WinogradGradWeightJob(const Task& task, const Plan& plan, char* memory)
      : task(task), plan(plan), scratch(plan, memory) {}

  // Of a block of the channels of a part.
  void load_input(int64_t block, Range tiles, float* out) const {
    const int64_t blocks = plan.input.cut.count;
    load_tiles<SourceTile<F>, S>(plan, plan.input, task.input, block % blocks,
                                 plan.parts.taps(block / blocks), tiles, scratch.patch, out);
  }
  void load_grad(int64_t block, Range tiles, float* out) const {
    load_tiles<GradTile<F>, S>(plan, plan.grad, task.grad, block, {}, tiles, scratch.patch, out);
  }

  // Stage 0 of shared operands: a pass of one block of channels.
  void load_shared(int64_t index, float* shared) const {
    const int64_t block = index / plan.passes, begin = index % plan.passes * plan.pass_tiles;
    const Range tiles = {begin, smaller(begin + plan.pass_tiles, task.shape.n * plan.tiles())};
    if (block < plan.input_blocks())
      return load_input(block, tiles, shared + plan.input_at(block) + begin * plan.input.cut.size);
    const int64_t k_block = block - plan.input_blocks();
    load_grad(k_block, tiles, shared + plan.grad_at(k_block) + begin * plan.grad.cut.size);
  }

  // sums [c][tap][k] = the tiles of the batch, of block `block`; `shared`: operands that are, or null
  void sum(int64_t block, Range tiles, float* sums, const float* shared) const {
    const int64_t c_block = block / plan.grad.cut.count, k_block = block % plan.grad.cut.count;
    const int64_t inputs =
        plan.input.cut.length(c_block % plan.input.cut.count, plan.input.channels);
    const int64_t outputs = plan.grad.cut.length(k_block, plan.grad.channels);
    for (int64_t begin = tiles.begin, end; begin < tiles.end; begin = end) {
      end = smaller(begin + plan.pass_tiles, tiles.end);
      const float *input = scratch.input, *grad = scratch.grad;
      if (shared) {
        input = shared + plan.input_at(c_block) + begin * plan.input.cut.size;
        grad = shared + plan.grad_at(k_block) + begin * plan.grad.cut.size;
      } else {
        load_input(c_block, {begin, end}, scratch.input);
        load_grad(k_block, {begin, end}, scratch.grad);
      }
      multiply_tiles(plan, scratch, input, grad, inputs, outputs, end - begin,
                     begin == tiles.begin ? Sum::kStart : Sum::kAdd);
    }
    const int64_t wide = plan.grad.cut.size;
    for (int64_t c = 0; c < inputs; ++c) {
      sum_points<F>(scratch.products + c * wide, plan.channels_of_block(), wide,
                    sums + c * plan.taps * wide);
    }
  }

  // The tiles of all rows of several images, or of some rows of one.
  Range tiles_of(const SampleChunk& chunk) const {
    const Range rows = chunk.share_of(plan.tile_rows);
    const int64_t last = chunk.image_end - 1;
    return {(chunk.image_begin * plan.tile_rows + rows.begin) * plan.tile_columns,
            (last * plan.tile_rows + rows.end) * plan.tile_columns};
  }

  void sum_batch(int64_t block, const float* shared) const {
    sum(block, {0, task.shape.n * plan.tiles()}, scratch.sums, shared);
    store_block<S>(task, plan, block, scratch.sums);
  }

  void sum_wave(const Job& job) const {
    const WaveSums<float> wave(plan.chunks, task.shape.n, plan.blocks * plan.block_size(), job);
    const int64_t block = job.index % plan.blocks, at = block * plan.block_size();
    if (job.stage == 0) {
      const int64_t in_wave = job.index / plan.blocks;
      if (in_wave >= wave.waiting()) return;
      return sum(block, tiles_of(wave.chunk(in_wave)), wave.partial(in_wave) + at, nullptr);
    }
    if (const float* const total = add_wave(wave, at, plan.block_size()))
      store_block<S>(task, plan, block, total);
  }

  void run(const Job& job) const {
    if (!plan.chunks.whole_batch()) return sum_wave(job);
    if (plan.operands == Plan::Operands::kOwn) return sum_batch(job.index, nullptr);
    float* const shared = (float*)job.shared;
    job.stage == 0 ? load_shared(job.index, shared) : sum_batch(job.index, shared);
  }
};

template <class F>
void winograd_grad_weight(const Task& task, const Job& job) {
  const auto& plan = *(const WinogradGradWeightPlan*)job.details;
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    // No plan is made for float64.
    if constexpr (!std::is_same_v<S, double>)
      WinogradGradWeightJob<F, S>(task, plan, job.scratch).run(job);
  });
}

}  // namespace
}  // namespace torchconv::cpu

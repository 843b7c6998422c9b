// Every algorithm of the CPU, and the kernels of each ISA level behind them.
#pragma once

#include "cpu/plan.h"

namespace torchconv::cpu {

extern const Algorithm kDepthwise, kDepthwiseGradWeight, kGroupedChannels, kPointwise, kWinograd4,
    kWinograd2, kWinograd5x5, kWinograd1x3, kWinograd3x1, kWinograd1x5, kWinograd5x1,
    kWinograd4Folded, kWinograd5x5Folded, kWinogradParts3x3, kWinogradParts1x3, kWinogradParts3x1,
    kWinogradParts4x4, kWinogradParts1x4, kWinogradParts4x1, kWinogradStride2, kWinograd4x4Stride2,
    kWinograd1x3Stride2, kDensePixels, kDenseChannels, kWinogradGradWeight, kWinograd5x5GradWeight,
    kWinograd1x3GradWeight, kWinograd3x1GradWeight, kWinograd1x5GradWeight, kWinograd5x1GradWeight,
    kWinogradParts3x3GradWeight, kWinogradParts1x3GradWeight, kWinogradParts3x1GradWeight,
    kWinogradParts4x4GradWeight, kWinogradParts1x4GradWeight, kWinogradParts4x1GradWeight,
    kGradWeight, kReference;

// In the order in which they are asked: the first that suits a layer computes it.
constexpr const Algorithm* kAlgorithms[] = {&kDepthwise,
                                            &kDepthwiseGradWeight,
                                            &kGroupedChannels,
                                            &kPointwise,
                                            &kWinograd4,
                                            &kWinograd2,
                                            &kWinograd5x5,
                                            &kWinograd1x3,
                                            &kWinograd3x1,
                                            &kWinograd1x5,
                                            &kWinograd5x1,
                                            &kWinograd4Folded,
                                            &kWinograd5x5Folded,
                                            &kWinogradParts3x3,
                                            &kWinogradParts1x3,
                                            &kWinogradParts3x1,
                                            &kWinogradParts4x4,
                                            &kWinogradParts1x4,
                                            &kWinogradParts4x1,
                                            &kWinogradStride2,
                                            &kWinograd4x4Stride2,
                                            &kWinograd1x3Stride2,
                                            &kDensePixels,
                                            &kDenseChannels,
                                            &kWinogradGradWeight,
                                            &kWinograd5x5GradWeight,
                                            &kWinograd1x3GradWeight,
                                            &kWinograd3x1GradWeight,
                                            &kWinograd1x5GradWeight,
                                            &kWinograd5x1GradWeight,
                                            &kWinogradParts3x3GradWeight,
                                            &kWinogradParts1x3GradWeight,
                                            &kWinogradParts3x1GradWeight,
                                            &kWinogradParts4x4GradWeight,
                                            &kWinogradParts1x4GradWeight,
                                            &kWinogradParts4x1GradWeight,
                                            &kGradWeight,
                                            &kReference};

// Beside the list: no operator of its own.
extern const Algorithm kGradBias;

// What the files of isa/ provide: the same kernels, compiled for each level, in two files that a build
// compiles side by side.
struct Kernels {
  RunJob grouped_channels;
  RunJob pointwise;
  RunJob dense_pixels;
  RunJob dense_channels;
  RunJob grad_weight;
  RunJob grad_bias;
  RunJob winograd4;
  RunJob winograd2;
  RunJob winograd5x5;
  RunJob winograd1x3;
  RunJob winograd3x1;
  RunJob winograd1x5;
  RunJob winograd5x1;
  RunJob winograd4_folded;
  RunJob winograd5x5_folded;
  RunJob winograd4x4;
  RunJob winograd1x4;
  RunJob winograd4x1;
  RunJob winograd_stride2;
  RunJob winograd4x4_stride2;
  RunJob winograd1x3_stride2;
  RunJob winograd_grad_weight;
  RunJob winograd5x5_grad_weight;
  RunJob winograd1x3_grad_weight;
  RunJob winograd3x1_grad_weight;
  RunJob winograd1x5_grad_weight;
  RunJob winograd5x1_grad_weight;
  RunJob winograd4x4_grad_weight;
  RunJob winograd1x4_grad_weight;
  RunJob winograd4x1_grad_weight;
  RunJob activate;
  RunJob channel_product;
  // Runs register-only fused multiply-adds; returns how many floating-point operations they were.
  double (*fma_burst)(int64_t iterations);
  int lanes;  // of a vector of floats
};

// Those that have other kernels at the level AVX-512 with BF16.
struct PairKernels {
  RunJob grouped_channels;
  RunJob pointwise;
  RunJob dense_pixels;
  RunJob dense_channels;
  RunJob grad_weight;
  bool (*pairs_are_two_steps)();
  int lanes;  // of a vector of pairs
};

struct DepthwiseKernels {
  RunJob depthwise;
  RunJob depthwise_grad_weight;
};

extern const Kernels kPortableKernels, kAvx2Kernels, kAvx512Kernels;
extern const PairKernels kAvx512PairKernels;
extern const DepthwiseKernels kPortableDepthwiseKernels, kAvx2DepthwiseKernels,
    kAvx512DepthwiseKernels;

inline const Kernels& kernels_of(Isa isa) {
  return isa >= Isa::kAvx512 ? kAvx512Kernels : isa == Isa::kAvx2 ? kAvx2Kernels : kPortableKernels;
}

inline int64_t vector_lanes(Isa isa) {
  return isa == Isa::kAvx512Bf16 ? kAvx512PairKernels.lanes : kernels_of(isa).lanes;
}

// An algorithm with one kernel, compiled for each level.
inline Algorithm at_each_level(const char* name, RunJob Kernels::* kernel,
                               decltype(Algorithm::make_plan) make_plan, Sums sums,
                               decltype(Algorithm::unsuited) unsuited) {
  return {name,
          make_plan,
          {kPortableKernels.*kernel, kAvx2Kernels.*kernel, kAvx512Kernels.*kernel},
          sums,
          unsuited};
}

}  // namespace torchconv::cpu

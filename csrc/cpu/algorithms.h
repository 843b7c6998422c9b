// Every algorithm of the CPU, and the kernels of each ISA level behind them.
#pragma once

#include "cpu/plan.h"

namespace torchconv::cpu {

extern const Algorithm kDepthwise, kDepthwiseGradWeight, kPointwise, kPixelLanes, kChannelLanes,
    kGradWeight, kReference;

// What each isa_*.cpp provides: the same kernels, compiled for its level.
struct Kernels {
  RunJob pointwise;
  RunJob pixel_lanes;
  RunJob channel_lanes;
  RunJob grad_weight;
  RunJob depthwise;
  RunJob depthwise_grad_weight;
  // Runs register-only fused multiply-adds; returns how many floating-point operations they were.
  double (*fma_burst)(int64_t iterations);
};

extern const Kernels kPortableKernels, kAvx2Kernels, kAvx512Kernels;

inline const Kernels& kernels_of(Isa isa) {
  return isa == Isa::kAvx512 ? kAvx512Kernels : isa == Isa::kAvx2 ? kAvx2Kernels : kPortableKernels;
}

}  // namespace torchconv::cpu

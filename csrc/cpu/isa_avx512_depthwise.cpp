// The depthwise kernels at the AVX-512 level. Everything that must not be compiled for this level is
// included before the region begins.
#include "cpu/algorithms.h"
#include "cpu/depthwise_grad_weight_plan.h"
#include "cpu/scalar.h"

#if defined(__x86_64__)
// g++ 12 takes what its own AVX-512 intrinsics leave undefined on purpose for a mistake of ours.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")
namespace torchconv::cpu::avx512 {
#include "cpu/simd_avx512.h"
// The kernels, in the order in which they use each other.
#include "cpu/microkernel.h"
#include "cpu/transpose.h"
#include "cpu/band.h"
#include "cpu/pixel_band.h"
#include "cpu/depthwise_band.h"
#include "cpu/depthwise_weights.h"
#include "cpu/depthwise_reach.h"
#include "cpu/depthwise_tile.h"
#include "cpu/depthwise_strip.h"
#include "cpu/depthwise_run.h"
#include "cpu/depthwise_rows.h"
#include "cpu/depthwise_tile_rows.h"
#include "cpu/depthwise_run_rows.h"
#include "cpu/depthwise.h"
#include "cpu/depthwise_taps.h"
#include "cpu/depthwise_windows.h"
#include "cpu/depthwise_grad_weight.h"
}  // namespace torchconv::cpu::avx512
#pragma GCC pop_options

namespace torchconv::cpu {
const DepthwiseKernels kAvx512DepthwiseKernels = {avx512::depthwise, avx512::depthwise_grad_weight};
}  // namespace torchconv::cpu
#else
namespace torchconv::cpu {
const DepthwiseKernels kAvx512DepthwiseKernels = {};
}  // namespace torchconv::cpu
#endif

// The dense kernels at the AVX-512 level. Everything that must not be compiled for this level is
// included before the region begins.
#include "cpu/algorithms.h"
#include "cpu/grad_bias_plan.h"
#include "cpu/grad_weight_plan.h"
#include "cpu/pixel_plan.h"
#include "cpu/pointwise_plan.h"
#include "cpu/row_parts.h"
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
#include "cpu/channel_pack.h"
#include "cpu/row_store.h"
#include "cpu/channel_lanes.h"
#include "cpu/pixel_band.h"
#include "cpu/pixel_lanes.h"
#include "cpu/pointwise.h"
#include "cpu/grad_weight_pass.h"
#include "cpu/grad_weight.h"
#include "cpu/grad_bias.h"
#include "cpu/fma_burst.h"
}  // namespace torchconv::cpu::avx512
#pragma GCC pop_options

namespace torchconv::cpu {
const Kernels kAvx512Kernels = {avx512::pointwise,   avx512::pixel_lanes, avx512::channel_lanes,
                                avx512::grad_weight, avx512::grad_bias,   avx512::fma_burst};
}  // namespace torchconv::cpu
#else
namespace torchconv::cpu {
const Kernels kAvx512Kernels = {};
}  // namespace torchconv::cpu
#endif

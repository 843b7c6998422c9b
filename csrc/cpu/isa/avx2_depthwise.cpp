// The depthwise kernels at the AVX2 level.
#include "cpu/isa/baseline.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#include "cpu/simd/avx2.h"

#include "cpu/isa/depthwise.inc"
#pragma GCC pop_options

namespace torchconv::cpu {
const DepthwiseKernels kAvx2DepthwiseKernels = kDepthwiseKernels;
}  // namespace torchconv::cpu
#else
namespace torchconv::cpu {
const DepthwiseKernels kAvx2DepthwiseKernels = {};
}  // namespace torchconv::cpu
#endif

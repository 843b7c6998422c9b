// The dense kernels at the AVX2 level.
#include "cpu/isa/baseline.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#include "cpu/simd/avx2.h"

#include "cpu/isa/dense.inc"
#pragma GCC pop_options

namespace torchconv::cpu {
const Kernels kAvx2Kernels = kKernels;
}  // namespace torchconv::cpu
#else
namespace torchconv::cpu {
const Kernels kAvx2Kernels = {};
}  // namespace torchconv::cpu
#endif

// The dense kernels in pairs of bfloat16 at the level AVX-512 with BF16.
#include "cpu/isa/baseline.h"

#if defined(__x86_64__)
// g++ 12 takes what its own AVX-512 intrinsics leave undefined on purpose for a mistake of ours.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")
#include "cpu/simd/avx512_bf16.h"

namespace torchconv::cpu {
namespace {
constexpr const Kernels& kBelow = kAvx512Kernels;
}  // namespace
}  // namespace torchconv::cpu

#include "cpu/isa/pairs.inc"
#pragma GCC pop_options

namespace torchconv::cpu {
const PairKernels kAvx512PairKernels = kPairKernels;
}  // namespace torchconv::cpu
#else
namespace torchconv::cpu {
const PairKernels kAvx512PairKernels = {};
}  // namespace torchconv::cpu
#endif

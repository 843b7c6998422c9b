// The kernels for integers at the level AVX-512.
#include "cpu/integer/plan_quads.h"
#include "cpu/isa/baseline.h"

#if defined(__x86_64__)
// g++ 12 takes what its own AVX-512 intrinsics leave undefined on purpose for a mistake of ours.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")
#include "cpu/simd/avx512.h"
#include "cpu/simd/avx512_dot.h"

#include "cpu/isa/integer.inc"
#pragma GCC pop_options

namespace torchconv::cpu {
const IntegerKernels kAvx512Integers = kIntegers;
}  // namespace torchconv::cpu
#else
namespace torchconv::cpu {
const IntegerKernels kAvx512Integers = {};
}  // namespace torchconv::cpu
#endif

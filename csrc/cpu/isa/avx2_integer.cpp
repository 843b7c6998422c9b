// The kernels for integers at the level AVX2.
#include "cpu/integer/plan_quads.h"
#include "cpu/isa/baseline.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#include "cpu/simd/avx2.h"
#include "cpu/simd/avx2_dot.h"

#include "cpu/isa/integer.inc"
#pragma GCC pop_options

namespace torchconv::cpu {
const IntegerKernels kAvx2Integers = kIntegers;
}  // namespace torchconv::cpu
#else
namespace torchconv::cpu {
const IntegerKernels kAvx2Integers = {};
}  // namespace torchconv::cpu
#endif

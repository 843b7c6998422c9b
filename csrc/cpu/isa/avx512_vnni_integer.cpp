// The kernels for integers at the level AVX-512 with VNNI.
#include "cpu/integer/plan_quads.h"
#include "cpu/isa/baseline.h"

#if defined(__x86_64__)
// g++ 12 takes what its own AVX-512 intrinsics leave undefined on purpose for a mistake of ours.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")
#include "cpu/simd/avx512.h"
#include "cpu/simd/vnni_dot.h"

#include "cpu/isa/integer.inc"
#pragma GCC pop_options

namespace torchconv::cpu {
const IntegerKernels kVnniIntegers = kIntegers;
}  // namespace torchconv::cpu
#else
namespace torchconv::cpu {
const IntegerKernels kVnniIntegers = {};
}  // namespace torchconv::cpu
#endif

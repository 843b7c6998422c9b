// The kernels for integers in plain C++: every machine runs them, none quickly.
#include "cpu/integer/plan_quads.h"
#include "cpu/isa/baseline.h"
#include "cpu/simd/portable.h"
#include "cpu/simd/portable_dot.h"

#include "cpu/isa/integer.inc"

namespace torchconv::cpu {
const IntegerKernels kPortableIntegers = kIntegers;
}  // namespace torchconv::cpu

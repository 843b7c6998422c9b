// The dense kernels in plain C++: every machine runs them, none quickly.
#include "cpu/isa/baseline.h"
#include "cpu/simd/portable.h"

#include "cpu/isa/dense.inc"

namespace torchconv::cpu {
const Kernels kPortableKernels = kKernels;
}  // namespace torchconv::cpu

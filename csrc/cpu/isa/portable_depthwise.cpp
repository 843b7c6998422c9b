// The depthwise kernels in plain C++: every machine runs them, none quickly.
#include "cpu/isa/baseline.h"
#include "cpu/simd/portable.h"

#include "cpu/isa/depthwise.inc"

namespace torchconv::cpu {
const DepthwiseKernels kPortableDepthwiseKernels = kDepthwiseKernels;
}  // namespace torchconv::cpu

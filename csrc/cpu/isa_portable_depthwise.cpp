// The depthwise kernels in plain C++: every machine runs them, none quickly.
#include "cpu/algorithms.h"
#include "cpu/depthwise_grad_weight_plan.h"
#include "cpu/scalar.h"

namespace torchconv::cpu::portable {
#include "cpu/simd_portable.h"
// The kernels, in the order in which they use each other.
#include "cpu/microkernel.h"
#include "cpu/transpose.h"
#include "cpu/band.h"
#include "cpu/pixel_band.h"
#include "cpu/depthwise_band.h"
#include "cpu/depthwise_weights.h"
#include "cpu/depthwise_reach.h"
#include "cpu/depthwise_tile.h"
#include "cpu/depthwise_strip.h"
#include "cpu/depthwise_run.h"
#include "cpu/depthwise_rows.h"
#include "cpu/depthwise_tile_rows.h"
#include "cpu/depthwise_run_rows.h"
#include "cpu/depthwise.h"
#include "cpu/depthwise_taps.h"
#include "cpu/depthwise_windows.h"
#include "cpu/depthwise_grad_weight.h"
}  // namespace torchconv::cpu::portable
namespace torchconv::cpu {
const DepthwiseKernels kPortableDepthwiseKernels = {portable::depthwise,
                                                    portable::depthwise_grad_weight};
}  // namespace torchconv::cpu

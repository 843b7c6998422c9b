// The dense kernels in plain C++: every machine runs them, none quickly.
#include "cpu/algorithms.h"
#include "cpu/grad_bias_plan.h"
#include "cpu/grad_weight_plan.h"
#include "cpu/pixel_plan.h"
#include "cpu/pointwise_plan.h"
#include "cpu/row_parts.h"
#include "cpu/scalar.h"

namespace torchconv::cpu::portable {
#include "cpu/simd_portable.h"
// The kernels, in the order in which they use each other.
#include "cpu/microkernel.h"
#include "cpu/transpose.h"
#include "cpu/band.h"
#include "cpu/channel_pack.h"
#include "cpu/row_store.h"
#include "cpu/channel_lanes.h"
#include "cpu/pixel_band.h"
#include "cpu/pixel_lanes.h"
#include "cpu/pointwise.h"
#include "cpu/grad_weight_pass.h"
#include "cpu/grad_weight.h"
#include "cpu/grad_bias.h"
#include "cpu/fma_burst.h"
}  // namespace torchconv::cpu::portable
namespace torchconv::cpu {
const Kernels kPortableKernels = {portable::pointwise,     portable::pixel_lanes,
                                  portable::channel_lanes, portable::grad_weight,
                                  portable::grad_bias,     portable::fma_burst};
}  // namespace torchconv::cpu

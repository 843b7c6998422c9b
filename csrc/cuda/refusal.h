// Why a CUDA algorithm does not compute a layer, in words.
#pragma once

#include "cuda/algorithms.h"

namespace torchconv::cuda {

// Null where it does: `applicable` decides.
const char* refusal(const Algorithm& algorithm, Op op, const Conv2dShape& shape);

}  // namespace torchconv::cuda

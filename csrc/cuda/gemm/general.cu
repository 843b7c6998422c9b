// The general kernels for every layer that no other algorithm takes.
#include "cuda/gemm/general.cuh"

#include "cuda/algorithms.h"

namespace torchconv::cuda {

const Algorithm kGeneral = {"general", "general", general_applicable, general_workspace,
                            launch_general<false>};

}  // namespace torchconv::cuda

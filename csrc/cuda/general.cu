#include "cuda/algorithms.h"
#include "cuda/general.cuh"

namespace torchconv::cuda {

const Algorithm kGeneral = {"general", "general", general_applicable, general_workspace,
                            launch_general};

}  // namespace torchconv::cuda

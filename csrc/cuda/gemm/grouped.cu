// Grouped layers with few channels: the general kernels over several groups at a time. A group of
// four channels alone would leave three quarters of a tile empty and read an eighth of every sector.
#include "cuda/algorithms.h"
#include "cuda/gemm/general.cuh"

namespace torchconv::cuda {
namespace {

bool applicable(Op op, const Conv2dShape& d) {
  return general_applicable(op, d) && d.groups > 1 &&
         larger(d.c_per_group(), d.k_per_group()) <= kMergedRows;
}

}  // namespace

const Algorithm kGrouped = {"grouped", "grouped", applicable, general_workspace,
                            launch_general<true>};

}  // namespace torchconv::cuda

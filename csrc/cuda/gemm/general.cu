// The general kernels, for every layer that no other algorithm takes: a product of matrices of which
// only the tiles in work exist (implicit GEMM).
//
//                        pixels of all images
//                      +------+------+------+
//        taps of       |      | tile |      |   windows, looked up in the source (WindowRows)
//        all channels  +------+------+------+
//    +------+          +------+------+------+
//  k | tile |          |      | sums |      |   64 x 64 of a block; 16 x 128 for up to 16 channels
//    +------+          +------+------+------+
//    weights (WeightRows)
//
// Both tiles go through shared memory, the next pair on its way while one is multiplied; half types
// and TF32 use the tensor cores. grad_weight is the product of grad and windows, summed over pixels.
#include "cuda/gemm/general.cuh"

#include "cuda/algorithms.h"

namespace torchconv::cuda {

const Algorithm kGeneral = {"general", "general", general_applicable, general_workspace,
                            launch_general<false>};

}  // namespace torchconv::cuda

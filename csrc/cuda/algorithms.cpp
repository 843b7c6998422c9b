#include "cuda/algorithms.h"

namespace torchconv::cuda {

Algorithms algorithms() {
  static const Algorithm list[] = {kDepthwiseToeplitz, kDepthwiseToeplitzGradWeight, kDepthwise,
                                   kDepthwiseGradWeight,
                                   // These wait for a GPU.
                                   kDepthwiseToeplitzImages, kDepthwiseHalves,
                                   // The last takes any shape.
                                   kGrouped, kGeneral, kReference};
  return {list, (int)(sizeof list / sizeof list[0])};
}

}  // namespace torchconv::cuda

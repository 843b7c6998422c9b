// The general kernels, and the classes of layers that a GPU accepts on their own though they are
// computed by them: a class that is fast must not wait for one that is not.
#include "cuda/general.cuh"

#include "cuda/algorithms.h"

namespace torchconv::cuda {
namespace {

// Where launching is what costs: the layer is one launch, with its bias; the weight gradient is one,
// too, or two where there are many images.
constexpr double kSmallWork = 1 << 20;  // multiply-adds of an image

bool small_applicable(Op op, const Conv2dShape& d) {
  return general_applicable(op, d) &&
         (double)(d.k * d.p * d.q) * (double)(d.c_per_group() * d.r * d.s) <= kSmallWork;
}

bool pointwise_applicable(Op op, const Conv2dShape& d) {
  return general_applicable(op, d) && d.r == 1 && d.s == 1 && d.groups == 1;
}

}  // namespace

const Algorithm kSmall = {"small", "general", small_applicable, general_workspace,
                          launch_general<false>};
const Algorithm kPointwise = {"pointwise", "general", pointwise_applicable, general_workspace,
                              launch_general<false>};
const Algorithm kGeneral = {"general", "general", general_applicable, general_workspace,
                            launch_general<false>};

}  // namespace torchconv::cuda

// The operator _cached_cast: what torch.autocast makes of an argument of a convolution, out of its cache where it
// has made it before. The cache is ATen's own, so that a weight which ATen's operators and these use is cast once,
// and goes when a region ends.
//
// Its one door is a C++ function, at::autocast::cached_cast(c10::ScalarType, const at::Tensor&, c10::DeviceType),
// which the stable ABI has not. It is looked for by name at run time; where a version of PyTorch has no function of
// that name and these arguments, each call casts.
#include <dlfcn.h>
#include <torch/csrc/stable/library.h>

#include "tensor_utils.h"

namespace torchconv {
namespace {

// In the place of at::Tensor where that function returns one: as large, and returned in the memory of the caller as
// everything that has a destructor is. Never destroyed: the memory becomes a tensor of the stable ABI, whose handles
// are pointers to tensors of ATen's.
struct Returned {
  ~Returned() {}
  void* tensor;
};

using CachedCast = Returned (*)(int8_t dtype, AtenTensorHandle tensor, int8_t device_type);

CachedCast find_cached_cast() {
  constexpr const char* kName =
      "_ZN2at8autocast11cached_castEN3c1010ScalarTypeERKNS_6TensorENS1_10DeviceTypeE";
  return reinterpret_cast<CachedCast>(dlsym(RTLD_DEFAULT, kName));
}

Tensor cached_cast(const Tensor& tensor, ScalarType dtype) {
  static const CachedCast function = find_cached_cast();
  if (!function) return torch::stable::to(tensor, dtype);
  const auto device_type = static_cast<int8_t>(tensor.device().type());
  Returned* const cast =
      new Returned(function(static_cast<int8_t>(dtype), tensor.get(), device_type));
  return Tensor(reinterpret_cast<AtenTensorHandle>(cast));
}

// Differentiable as what it calls.
STABLE_TORCH_LIBRARY_IMPL(torchconv, CompositeImplicitAutograd, m) {
  m.impl("_cached_cast", TORCH_BOX(&cached_cast));
}

}  // namespace
}  // namespace torchconv

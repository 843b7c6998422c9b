// Index arithmetic of the kernels: division without a divide instruction.
#pragma once

#include "cuda/device/device.h"

namespace torchconv::cuda {

// Division of numbers from 0 to the largest of the signed type by one that is known before the
// launch. The quotient of the truncated reciprocal is at most one too small.
template <class Signed, class Unsigned>
struct BasicDivider {
  Signed divisor;
  Unsigned reciprocal;

  BasicDivider() = default;
  __host__ __device__ explicit BasicDivider(int64_t by)
      : divisor((Signed)by), reciprocal(~(Unsigned)0 / (Unsigned)by) {}

  __device__ __forceinline__ Signed divide(Signed x, Signed& rest) const {
    Unsigned quotient = high_product((Unsigned)x, reciprocal);
    rest = x - (Signed)quotient * divisor;
    if (rest >= divisor) {
      rest -= divisor;
      ++quotient;
    }
    return (Signed)quotient;
  }
};
using Divider = BasicDivider<int32_t, uint32_t>;
using LongDivider = BasicDivider<int64_t, uint64_t>;

}  // namespace torchconv::cuda

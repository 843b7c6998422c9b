// Vectors of the AVX-512 level.
#pragma once

#include "cpu/simd/avx512_lanes.h"

namespace torchconv::cpu {
namespace {

template <>
struct Simd<float> : Avx512Floats {};

}  // namespace
}  // namespace torchconv::cpu

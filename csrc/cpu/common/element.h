// What a dtype means to a plan: the size of an element in the compute type, and how many fill a block
// of lanes. No torch, no SIMD.
#pragma once

#include "conv2d.h"

namespace torchconv::cpu {

// Sums are kept in double for float64, else in float.
constexpr int64_t compute_bytes(Dtype dtype) {
  return dtype == Dtype::kFloat64 ? 8 : 4;
}

// A block of lanes is 64 bytes on every level: 16 floats or 8 doubles.
constexpr int64_t block_lanes(Dtype dtype) {
  return 64 / compute_bytes(dtype);
}

// Blocks of lanes that a register tile takes at most, on any level. Where `blocks` are cut, three of them make a panel
// if that leaves none over: its tiles of eight rows are as fast as those of six (Sapphire Rapids).
constexpr int64_t kPanelBlocks = 4;
constexpr int64_t panel_blocks(int64_t blocks) {
  return blocks % 3 == 0 ? 3 : kPanelBlocks;
}

// Whether elements are widened when loaded and rounded when stored.
constexpr bool is_half(Dtype dtype) {
  return dtype == Dtype::kBFloat16 || dtype == Dtype::kFloat16;
}

constexpr int64_t stored_bytes(Dtype dtype) {
  return dtype == Dtype::kFloat64 ? 8 : is_half(dtype) ? 2 : 4;
}

}  // namespace torchconv::cpu

// Convolutions of integers: exact sums of products of 8 bits in 32. An operator of its own, conv2d_int32
// (torch/integer_cpu.cpp); no order of such sums differs from another, so that the plan is free to take any.
//
//     plan.h    chooses the way and cuts it into jobs
//     load.h    part of an image as a patch [row][column][channel], padded; packs weights
//     job.h     one job: register tiles over a patch
//     quads.h   groups of few channels (plan_quads.h, load_quads.h, pack_quads.h, sum_quads.h)
//     planes.h  depthwise planes, read in place
//     maps.h    what has no patch
//     tile.h    the inner loop
//
//              one panel: 2 vectors of output channels
//     pixels   [ x x x x x x | x x x x x x ]    a step multiplies kStep neighbouring channels of each pixel
//     of a     [ x x x x x x | x x x x x x ]    by those of each output channel; a tile goes through the
//     row      [ x x x x x x | x x x x x x ]    taps, and in each through the channels
//
// With VNNI a pixel must be unsigned. int8 is moved by 128, padding with it, and the sums start at the bias less 128
// times the sum of all weights, which takes it back.
#pragma once

#include "cpu/plan.h"

namespace torchconv::cpu {

// What the files of isa/ provide for each level.
struct IntegerKernels {
  RunJob run;
  int lanes;    // of a vector of sums
  int step;     // neighbouring channels of a step
  int offset;   // added to int8
  int outputs;  // of a tile of quads
  bool planes;  // has those of planes.h
};

extern const IntegerKernels kPortableIntegers, kAvx2Integers, kAvx512Integers, kVnniIntegers;

}  // namespace torchconv::cpu

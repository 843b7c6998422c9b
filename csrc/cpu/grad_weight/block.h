// Which part of the result of grad_weight a job sums, and of which samples at once.
#pragma once

#include "cpu/grad_weight/plan.h"

namespace torchconv::cpu {
namespace {

// Some rows of the output of some images.
struct GradWeightPart {
  int64_t image, images, row, rows;
};

// The channels of one operand that a block of the result takes.
struct GradWeightChannels {
  int64_t begin, count;

  GradWeightChannels(const GradWeightOperand& operand, int64_t block)
      : begin(operand.cut.begin(block)), count(operand.cut.length(block, operand.channels)) {}
};

// A block of the result: some channels in the lanes, some as tile rows, all taps.
struct GradWeightBlock {
  int64_t group;
  GradWeightChannels lanes, rows;

  GradWeightBlock(const GradWeightPlan& plan, int64_t block)
      : group(block / plan.lanes.cut.count / plan.rows.cut.count),
        lanes(plan.lanes, block % plan.lanes.cut.count),
        rows(plan.rows, block / plan.lanes.cut.count % plan.rows.cut.count) {}

  // Where a group is a block: the channels of so many groups.
  GradWeightBlock of_groups(int64_t count) const {
    GradWeightBlock all = *this;
    all.lanes.count *= count, all.rows.count *= count;
    return all;
  }
};

}  // namespace
}  // namespace torchconv::cpu

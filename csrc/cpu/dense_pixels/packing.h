// Stage 0 of dense_pixels: the weights of some panels as their tiles read them, and whether they are
// finite.
#pragma once

#include "cpu/common/pack_weights.h"
#include "cpu/dense_pixels/plan.h"

namespace torchconv::cpu {
namespace {

template <class S, class A>
void pack_pixel_panels(const Task& task, const Gather& gather, const PixelPlan& plan, int64_t index,
                       A* packed) {
  Compute<A>* const finite = (Compute<A>*)packed + plan.packed.size;
  const PixelPanels& panels = plan.panels;
  const int64_t all = gather.groups * panels.count, jobs = plan.packed.jobs;
  for (int64_t i = index * all / jobs; i < (index + 1) * all / jobs; ++i) {
    const int64_t group = i / panels.count, panel = i % panels.count;
    const int64_t begin = panels.begin(panel), width = panels.width(panel);
    const int64_t first = (group * gather.dst_channels + begin) * gather.src_channels;
    finite[i] = pack_panel<S>(task, gather, group, begin, width, width, plan.c_chunk.size,
                              packed + first * gather.taps());
  }
}

}  // namespace
}  // namespace torchconv::cpu

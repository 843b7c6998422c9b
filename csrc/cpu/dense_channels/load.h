// What a job of dense_channels reads: its part of the source as a patch, and where in that patch each tap
// finds its elements. Layouts, strides and padding of the source end here, and what is a pair of it.
#pragma once

#include "cpu/common/load_patch.h"
#include "cpu/dense_channels/odd_channels.h"
#include "cpu/dense_channels/plan.h"
#include "cpu/dense_channels/tap_pairs.h"

namespace torchconv::cpu {
namespace {

struct ChannelSource {
  const Task& task;
  const Gather& gather;
  const ChannelPlan& plan;
  const PatchPitches pitch;
  int64_t group_begin, group_end, image_begin, images, row_begin, row_count;
  int64_t group;  // the one that is summed

  ChannelSource(const Task& task, const Gather& gather, const ChannelPlan& plan, int64_t index)
      : task(task), gather(gather), plan(plan), pitch(plan, gather) {
    const int64_t of_images = plan.groups.count * plan.rows.count, part = index % of_images;
    // In channels_last groups share the pages of their rows.
    const bool next_group = gather.layout == Layout::kChannelsLast;
    group_begin = plan.groups.begin(next_group ? part % plan.groups.count : part / plan.rows.count);
    group_end = smaller(group_begin + plan.groups.size, gather.groups);
    group = group_begin;
    row_begin = plan.rows.begin(next_group ? part / plan.groups.count : part % plan.rows.count);
    row_count = smaller(plan.rows.size, gather.rows.longest - row_begin);
    image_begin = index / of_images * plan.images;
    images = smaller(plan.images, gather.n - image_begin);
  }

  // Whether the steps of a sum are the channels of a pixel, one after the other.
  bool is_matrix() const {
    return gather.taps() == 1 && pitch.channel == 1 && gather.pairs == InPairs::kNot;
  }

  // One table of offsets per phase, in the order block, r, s, c.
  void fill_offsets(int64_t* offset, int64_t channels) const {
    if (gather.pairs == InPairs::kTaps) return fill_tap_offsets(offset);
    for (int64_t pr = 0; pr < gather.rows.phases; ++pr) {
      const AxisPhase rows = gather.rows.phase(pr);
      for (int64_t pc = 0; pc < gather.columns.phases; ++pc) {
        const AxisPhase columns = gather.columns.phase(pc);
        for (int64_t block = 0; block < channels; block += gather.order.c_block) {
          for (int64_t i = 0; i < rows.taps; ++i) {
            const int64_t down = plan.patch.sections > 1
                                     ? i * plan.patch.section_rows(plan.rows.size)
                                     : rows.src_first + i * rows.src_delta - gather.rows.src_low;
            for (int64_t j = 0; j < columns.taps; ++j) {
              const int64_t right =
                  columns.src_first + j * columns.src_delta - gather.columns.src_low;
              const int64_t at = block * pitch.channel + down * pitch.row + right * pitch.pixel;
              for (int64_t c = 0; c < gather.order.c_block; ++c) *offset++ = at + c * pitch.channel;
            }
          }
        }
      }
    }
  }

  // The pixel that position 0 of this job's first row reads with the lowest tap.
  template <class A>
  const A* pixels(const A* patch, int64_t c_begin) const {
    if (!plan.in_place) return patch + (group - group_begin) * gather.src_channels;
    const int64_t channel = group * gather.src_channels + c_begin;
    const A* const source = (const A*)gather_source(task) + image_begin * pitch.image;
    const int64_t row = row_begin * gather.rows.src_step + gather.rows.src_low;
    return source + row * pitch.row + gather.columns.src_low * pitch.pixel +
           channel * pitch.channel;
  }

  // For all groups of the job. `single`: scratch memory, where pairs of taps are made.
  template <class S, class A>
  void load(A* patch, [[maybe_unused]] A* single, int64_t c_begin, int64_t c_count) const {
    if (plan.in_place) return;
    const int64_t channel = group_begin * gather.src_channels + c_begin;
    c_count += (group_end - group_begin - 1) * gather.src_channels;
    const int64_t at_once = plan.planar ? 1 : c_count;
    if constexpr (std::is_same_v<A, Pair>) {
      if (gather.pairs == InPairs::kTaps) return load_taps(patch, (BFloat16*)single);
      if (gather.pairs == InPairs::kOddChannels) return load_odd(patch, channel, c_count);
    }
    for (int64_t n = 0; n < images; ++n) {
      const auto image = source_image<LoadedAs<S, A>>(task, gather, image_begin + n);
      for (int64_t c = 0; c < c_count; c += at_once) {
        load_sections(image, plan.patch, gather, row_begin, row_count, plan.rows.size, channel + c,
                      at_once, patch + n * pitch.image + c * pitch.channel, pitch.pixel);
      }
    }
  }

 private:
  // Of the single elements of one image, or of one of its images of pairs.
  int64_t image_size() const {
    return plan.patch.rows(plan.rows.size) * plan.patch.columns * gather.src_channels;
  }

  void fill_tap_offsets(int64_t* offset) const {
    const TapSteps steps(gather);
    const TapPitches taps = pitch.taps(plan, gather);
    steps.each([&](int64_t c, int64_t r, int64_t s, Second second) {
      *offset++ =
          c * taps.channel + r * taps.down + s * taps.right + steps.images(second) * image_size();
    });
  }

  template <class A>
  void load_odd(A* patch, int64_t channel, int64_t c_count) const {
    for (int64_t n = 0; n < images; ++n) {
      const auto image = source_image<BFloat16>(task, gather, image_begin + n);
      load_odd_sections(image, plan.patch, gather, row_begin, row_count, plan.rows.size, channel,
                        c_count, patch + n * pitch.image, pitch.pixel);
    }
  }

  template <class A>
  void load_taps(A* patch, BFloat16* single) const {
    const TapPitches taps = pitch.taps(plan, gather);
    for (int64_t n = 0; n < images; ++n) {
      const auto image = source_image<BFloat16>(task, gather, image_begin + n);
      load_single_elements(image, plan.patch, gather, row_begin, row_count, plan.rows.size,
                           group * gather.src_channels, plan.planar, single);
      pair_elements(TapSteps(gather), taps, single, image_size(), patch + n * pitch.image);
    }
  }
};

}  // namespace
}  // namespace torchconv::cpu

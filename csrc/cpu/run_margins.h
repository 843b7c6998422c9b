// The input gradient where padding repeats elements of the input (margins.h), of layers whose groups have few
// channels. Their strips are so little work that waking threads for each would cost more: a thread takes an
// image, or some of its groups, from the first product to the last sum. What stays in a cache is computed as
// one layer, of the padded image, and folded; else the strips of an image are, after the inside of all. No torch.
#pragma once

#include <atomic>

#include "cpu/common/sum_order.h"
#include "cpu/margins.h"
#include "cpu/run_each.h"

namespace torchconv::cpu {

// Of the gradient of a padded image, or of some groups of it, that stays in the L2 cache.
constexpr int64_t kFoldedBytes = 256 << 10;

// Whether the sums of a gradient are the same in whatever layer.
inline bool has_small_groups(const Conv2dShape& shape) {
  const int64_t c = shape.c_per_group(), k = shape.k_per_group();
  const bool one_step = shape.stride_h == 1 && shape.stride_w == 1;
  return shape.groups > 1 && c < sum_order::kLeastWinogradChannels &&
         k < sum_order::kLeastWinogradChannels && (k <= sum_order::kPlaneByPlane || one_step);
}

// Of one image, so many groups.
inline Conv2dShape some_groups(Conv2dShape shape, int64_t count) {
  shape.c = count * shape.c_per_group(), shape.k = count * shape.k_per_group();
  shape.groups = count, shape.n = 1;
  return shape;
}

// The padded image as an input.
inline MarginStrip padded_input(Conv2dShape shape) {
  const int64_t row = -shape.pad_top, column = -shape.pad_left;
  shape.h += shape.pad_top + shape.pad_bottom, shape.w += shape.pad_left + shape.pad_right;
  shape.pad_top = shape.pad_bottom = shape.pad_left = shape.pad_right = 0;
  shape.padding_mode = PaddingMode::kZeros;
  return {shape, row, column};
}

inline int64_t input_bytes(const Conv2dShape& shape) {
  return shape.c * shape.h * shape.w * stored_bytes(shape.dtype);
}

// The gradient of a part of the padded image, or of all of it, that a thread computes alone.
struct MarginLayer {
  Conv2dShape shape;
  PaddedGradient from;
  std::vector<MarginSpan> spans;
  Plan plan;
  const Algorithm* algorithm;

  MarginLayer(const MarginStrip& part, Winograd winograd)
      : shape(part.shape), from{input_strides(part.shape), part.row, part.column} {
    algorithm = &select_algorithm(Op::kGradInput, shape, winograd, 1, plan);
  }

  // Null without memory.
  const char* run(Task task) const {
    task.shape = shape;
    char* const result = gradient_arena().reserve(input_bytes(shape));
    task.result = result;
    const bool done = result && run_plan(task, plan, algorithm->run_at(plan.isa), OneThread{});
    return done ? result : nullptr;
  }
};

// The groups of an image that a thread takes at once, where it computes their padded gradient; else none.
inline Cut folded_groups(const Conv2dShape& shape, int64_t threads) {
  const int64_t fitting = kFoldedBytes / input_bytes(some_groups(padded_input(shape).shape, 1));
  if (shape.layout == Layout::kChannelsLast) {
    const bool feeds = shape.n % threads == 0 || shape.n >= 8 * threads;
    return {shape.groups, feeds && fitting >= shape.groups ? 1 : 0};
  }
  const int64_t parts = larger(ceil_div(shape.groups, larger(1, fitting)),
                               parts_for_threads(shape.n, threads, shape.groups));
  const int64_t vector = larger(1, 16 / shape.c_per_group());
  const int64_t size = ceil_div(shape.groups, parts);
  return Cut::of(size > vector ? round_up(size, vector) : size, shape.groups);
}

// True where there was memory for all. tell(layer) is called before a layer is run.
template <class Threads, class Tell>
bool run_folded(const Task& given, Winograd winograd, const Cut& cut, const Threads& threads,
                const Tell& tell) {
  const Conv2dShape& shape = given.shape;
  const auto layer_of = [&](int64_t groups) {
    return MarginLayer(padded_input(some_groups(shape, groups)), winograd);
  };
  MarginLayer first = layer_of(cut.size), last = layer_of(cut.length(cut.count - 1, shape.groups));
  const MarginStrips strips(shape);
  for (MarginLayer* layer : {&first, &last}) {
    for (int64_t i = 0; i < strips.count; ++i)
      append_spans(shape, strips.strips[i], layer->from, layer->spans);
  }
  tell(first);
  const int64_t element = stored_bytes(shape.dtype);
  std::atomic<bool> enough{true};
  for_each_job(shape.n * cut.count, threads, [&](int64_t begin, int64_t end) {
    for (int64_t job = begin; job < end && enough; ++job) {
      const int64_t image = job / cut.count, part = job % cut.count, group = cut.begin(part);
      const MarginLayer& layer = part + 1 < cut.count ? first : last;
      const int64_t c = group * shape.c_per_group(), k = group * shape.k_per_group();
      const Strides grad = output_strides(shape), place = input_strides(shape);
      Task task = given;
      task.grad = (const char*)given.grad + (image * grad.image + k * grad.channel) * element;
      task.weight = (const char*)given.weight + k * given.weight_stride[0] * element;
      const char* const gradient = layer.run(task);
      if (!gradient) return enough.store(false);
      fold_padding(shape, layer.spans, layer.from, gradient, layer.shape.c,
                   (char*)given.result + (image * place.image + c * place.channel) * element);
    }
  });
  return enough;
}

// The same; adds the strips of every image to the gradient of its inside.
template <class Threads, class Tell>
bool run_strips(const Task& given, Winograd winograd, const Threads& threads, const Tell& tell) {
  const Conv2dShape& shape = given.shape;
  const MarginStrips strips(some_groups(shape, shape.groups));
  std::vector<MarginLayer> layers;
  for (int64_t i = 0; i < strips.count; ++i) {
    layers.emplace_back(strips.strips[i], winograd);
    append_spans(shape, strips.strips[i], layers.back().from, layers.back().spans);
    tell(layers.back());
  }
  const int64_t element = stored_bytes(shape.dtype);
  std::atomic<bool> enough{true};
  for_each_job(shape.n, threads, [&](int64_t begin, int64_t end) {
    for (int64_t image = begin; image < end && enough; ++image) {
      Task task = given;
      task.grad = (const char*)given.grad + image * output_strides(shape).image * element;
      for (const MarginLayer& layer : layers) {
        const char* const gradient = layer.run(task);
        if (!gradient) return enough.store(false);
        add_spans(shape, layer.spans, layer.from, gradient, shape.c,
                  (char*)given.result + image * input_strides(shape).image * element);
      }
    }
  });
  return enough;
}

}  // namespace torchconv::cpu

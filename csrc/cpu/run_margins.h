// The input gradient where padding repeats elements of the input (margins.h), of layers whose groups have few
// channels. Their strips are so little work that waking threads for each would cost more: a thread takes an
// image, or some of its groups, from the first product to the last sum. What stays in a cache is computed as
// one layer, of the padded image, and folded; else the strips of an image are, after the inside of all. Weights are
// packed once for all images. Most depthwise layers fold in their jobs (depthwise/fold.h). No torch.
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

  // Of what stage 0 makes of the weights, which all images share.
  int64_t packed_bytes() const { return plan.packs_weights ? round_up(plan.shared_bytes, 64) : 0; }

  // False without memory.
  template <class Threads>
  bool pack(Task task, const Threads& threads, char* packed) const {
    task.shape = shape;
    return run_stage(task, plan, algorithm->run_at(plan.isa), threads, 0, 0, packed);
  }

  // Null without memory.
  const char* run(Task task, const char* packed) const {
    task.shape = shape;
    char* const result = gradient_arena().reserve(input_bytes(shape));
    task.result = result;
    const bool done = result && run_plan(task, plan, algorithm->run_at(plan.isa), OneThread{},
                                         plan.packs_weights ? packed : nullptr);
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
  const auto layer_of_part = [&](int64_t part) -> const MarginLayer& {
    return part + 1 < cut.count ? first : last;
  };
  const auto task_of_part = [&](int64_t part) {
    Task task = given;
    task.weight = (const char*)given.weight +
                  cut.begin(part) * shape.k_per_group() * given.weight_stride[0] * element;
    return task;
  };
  Arena weights;
  char* const packed = weights.reserve(64 + cut.count * first.packed_bytes() + last.packed_bytes());
  std::atomic<bool> enough{packed != nullptr};
  const auto pack = [&](int64_t part, const auto& on) {
    const MarginLayer& layer = layer_of_part(part);
    char* const out = packed + part * first.packed_bytes();
    if (layer.plan.packs_weights && !layer.pack(task_of_part(part), on, out)) enough = false;
  };
  if (enough && cut.count == 1) pack(0, threads);
  if (enough && cut.count > 1) {
    for_each_job(cut.count, threads, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part) pack(part, OneThread{});
    });
  }
  for_each_job(shape.n * cut.count, threads, [&](int64_t begin, int64_t end) {
    for (int64_t job = begin; job < end && enough; ++job) {
      const int64_t image = job / cut.count, part = job % cut.count, group = cut.begin(part);
      const MarginLayer& layer = layer_of_part(part);
      const int64_t c = group * shape.c_per_group(), k = group * shape.k_per_group();
      const Strides grad = output_strides(shape), place = input_strides(shape);
      Task task = task_of_part(part);
      task.grad = (const char*)given.grad + (image * grad.image + k * grad.channel) * element;
      const char* const gradient = layer.run(task, packed + part * first.packed_bytes());
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
  int64_t bytes = 0;
  for (int64_t i = 0; i < strips.count; ++i) {
    layers.emplace_back(strips.strips[i], winograd);
    append_spans(shape, strips.strips[i], layers.back().from, layers.back().spans);
    tell(layers.back());
    bytes += layers.back().packed_bytes();
  }
  Arena weights;
  char* packed = weights.reserve(64 + bytes);
  for (const MarginLayer& layer : layers) {
    if (!layer.plan.packs_weights) continue;
    if (!packed || !layer.pack(given, threads, packed)) return false;
    packed += layer.packed_bytes();
  }
  packed -= bytes;
  const int64_t element = stored_bytes(shape.dtype);
  std::atomic<bool> enough{true};
  for_each_job(shape.n, threads, [&](int64_t begin, int64_t end) {
    for (int64_t image = begin; image < end && enough; ++image) {
      Task task = given;
      task.grad = (const char*)given.grad + image * output_strides(shape).image * element;
      const char* of_layer = packed;
      for (const MarginLayer& layer : layers) {
        const char* const gradient = layer.run(task, of_layer);
        of_layer += layer.packed_bytes();
        if (!gradient) return enough.store(false);
        add_spans(shape, layer.spans, layer.from, gradient, shape.c,
                  (char*)given.result + image * input_strides(shape).image * element);
      }
    }
  });
  return enough;
}

}  // namespace torchconv::cpu

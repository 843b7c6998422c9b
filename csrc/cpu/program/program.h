// A program: layers one after the other, planned once for inputs of one size and run in one call. What they
// make for each other lies in one block of memory, where what is no longer needed makes room for the next.
// No torch.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "cpu/algorithms.h"
#include "cpu/channel_product/plan.h"
#include "cpu/common/arithmetic.h"
#include "cpu/run_plan.h"
#include "cpu/simplify.h"

namespace torchconv::cpu {

// What goes into a step or comes out of it, dense in its layout.
struct Value {
  int64_t n, c, h, w;
  Layout layout;
  enum class Place { kInput, kOutput, kInside } place = Place::kInside;
  int64_t index = 0;     // of the input or the output; inside, the offset in bytes
  int64_t last_use = 0;  // the step
  bool flat = false;     // for the caller a matrix, of h = w = 1

  int64_t elements() const { return n * c * h * w; }
  bool has(Layout wanted) const { return layout == wanted || c == 1 || h * w == 1; }
};

struct Step {
  enum class Kind { kConv2d, kMean, kProduct } kind;
  std::shared_ptr<const SimplifiedTask> task;  // without the pointers to values; none of kMean
  Plan plan;
  const Algorithm* algorithm;  // of kConv2d
  RunJob run;
  const char* packed;                       // what stage 0 would make, or null
  double work;                              // in multiply-adds
  int64_t input, residual, factor, result;  // values; -1 for none
};

class Program {
 public:
  Dtype dtype = Dtype::kFloat32;
  std::vector<Value> values;
  std::vector<Step> steps;
  int64_t memory_bytes = 0;

  // The result of a step that reads these values.
  int64_t add(Step step, Value result) {
    const int64_t now = (int64_t)steps.size();
    result.last_use = now;
    for (const int64_t read : {step.input, step.residual, step.factor}) {
      if (read >= 0) values[read].last_use = now;
    }
    step.result = (int64_t)values.size();
    values.push_back(result);
    steps.push_back(std::move(step));
    return steps.back().result;
  }

  // Gives every value inside its place.
  void plan_memory() {
    struct Block {
      int64_t begin, end, last_use;
    };
    std::vector<Block> live;  // in the order of their places
    memory_bytes = 0;
    for (int64_t now = 0; now < (int64_t)steps.size(); ++now) {
      const Step& step = steps[now];
      Value& result = values[step.result];
      if (result.place != Value::Place::kInside) continue;
      const int64_t replaced = replaced_by_result(step, now);
      if (replaced >= 0) {
        result.index = values[replaced].index;
        for (Block& block : live) {
          if (block.begin == result.index) block.last_use = result.last_use;
        }
        continue;
      }
      live.erase(std::remove_if(live.begin(), live.end(),
                                [&](const Block& block) { return block.last_use < now; }),
                 live.end());
      const int64_t bytes = round_up(result.elements() * stored_bytes(dtype), kAlignment);
      int64_t begin = 0;
      auto next = live.begin();
      for (; next != live.end() && next->begin - begin < bytes; ++next) begin = next->end;
      result.index = begin;
      live.insert(next, {begin, begin + bytes, result.last_use});
      memory_bytes = larger(memory_bytes, begin + bytes);
    }
  }

  // False if there is no memory for a step. A Caller has
  //   mean(input, data, result)   writes the mean over the pixels of a value
  //   threads(work)               for a step
  //   tell(step, task)            sees each that is a convolution
  template <class Caller>
  bool run(const std::vector<const void*>& inputs, const std::vector<void*>& outputs, char* memory,
           const Caller& caller) const {
    const auto data = [&](int64_t value) -> void* {
      if (value < 0) return nullptr;
      const Value& wanted = values[value];
      if (wanted.place == Value::Place::kInput) return const_cast<void*>(inputs[wanted.index]);
      if (wanted.place == Value::Place::kOutput) return outputs[wanted.index];
      return memory + wanted.index;
    };
    for (const Step& step : steps) {
      if (step.kind == Step::Kind::kMean) {
        caller.mean(values[step.input], data(step.input), data(step.result));
        continue;
      }
      Task task = (*step.task)();
      task.input = data(step.input);
      task.residual = data(step.residual);
      if (step.factor >= 0) task.weight = data(step.factor);
      task.result = data(step.result);
      if (step.kind == Step::Kind::kConv2d) caller.tell(step, task);
      if (!run_plan(task, step.plan, step.run, caller.threads(step.work), step.packed))
        return false;
    }
    return true;
  }

 private:
  static constexpr int64_t kAlignment = 64;

  // The value that is needed no more and each of whose elements a step reads just before it writes the result
  // of the same place, or -1.
  int64_t replaced_by_result(const Step& step, int64_t now) const {
    int64_t read = step.factor >= 0 ? step.input : -1;
    if (step.residual != step.input && step.plan.may_replace_residual) read = step.residual;
    if (read < 0 || values[read].place != Value::Place::kInside) return -1;
    return values[read].last_use == now ? read : -1;
  }
};

}  // namespace torchconv::cpu

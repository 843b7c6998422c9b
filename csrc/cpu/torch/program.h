// A program with the tensors that it reads, under a number that Python knows it by.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "cpu/program/program.h"
#include "cpu/select.h"
#include "tensor_utils.h"

namespace torchconv::cpu {

// A tensor that the steps have a pointer to.
struct Held {
  Tensor tensor;
  const void* data;
  int64_t bytes;

  explicit Held(const Tensor& held)
      : tensor(held), data(held.const_data_ptr()), bytes(storage_bytes(held, "a tensor")) {}
  bool is_as_it_was() const {
    return tensor.const_data_ptr() == data && storage_bytes(tensor, "a tensor") == bytes;
  }
};

// A program with the tensors that it reads, and the conditions that it was made for.
struct TorchProgram {
  Program program;
  std::vector<Held> held;
  std::vector<int64_t> inputs, outputs;  // values
  const int64_t threads = torch::stable::get_num_threads();
  const Isa isa = isa_in_use();
  const Algorithm* const forced = forced_algorithm();
  bool finished = false;

  std::mutex running;  // who holds it has the memory; another thread takes memory of its own
  Arena memory;

  bool may_run() const {
    return threads == torch::stable::get_num_threads() && isa == isa_in_use() &&
           forced == forced_algorithm() &&
           std::all_of(held.begin(), held.end(),
                       [](const Held& each) { return each.is_as_it_was(); });
  }
};

// Never destroyed: a thread may still compute when the process ends.
struct Programs {
  std::mutex guard;
  std::map<int64_t, std::shared_ptr<TorchProgram>> all;
  int64_t next = 1;
};
inline Programs& programs() {
  static Programs& only = *new Programs;
  return only;
}

inline std::shared_ptr<TorchProgram> find(int64_t handle) {
  const std::lock_guard<std::mutex> lock(programs().guard);
  const auto found = programs().all.find(handle);
  require(found != programs().all.end(), "no such program: ", handle);
  return found->second;
}

// One that still grows.
inline std::shared_ptr<TorchProgram> unfinished(int64_t handle) {
  auto found = find(handle);
  require(!found->finished, "the program is finished already");
  return found;
}

}  // namespace torchconv::cpu

// Runs the CUDA algorithms on the CPU for tests/cuda/test_kernels.py; options of a request are
// {allow_tf32, backwards}. The workspace begins as NaN, too.
#include "cuda/algorithms.h"
#include "cuda/device/device.h"
#include "kernel_host/host.h"

namespace {

using namespace torchconv;

// 1: computed, 0: the algorithm does not apply, 2: the launch failed.
int64_t run(const host::Request& request, void* const (&data)[5]) {
  const Conv2dShape shape = host::shape_of(request);
  const Op op = (Op)request.op;
  for (const cuda::Algorithm& algorithm : cuda::algorithms()) {
    if (std::strcmp(algorithm.name, request.algorithm)) continue;
    if (!algorithm.applicable(op, shape)) return 0;
    const host::Buffer workspace(algorithm.workspace_bytes(op, shape));
    cuda::Task task{};
    task.op = op;
    task.shape = shape;
    task.input = data[0], task.weight = data[1], task.bias = data[2], task.grad = data[3];
    std::memcpy(task.weight_stride, request.weight_stride, sizeof task.weight_stride);
    task.result = data[4];
    task.workspace = workspace.data;
    task.allow_tf32 = request.options[0];
    cuda::host::backwards = request.options[1];
    return algorithm.launch(task, nullptr) == cudaSuccess ? 1 : 2;
  }
  return 2;
}

}  // namespace

int main(int count, char** arguments) {
  if (count == 2 && !std::strcmp(arguments[1], "--list")) {
    for (const cuda::Algorithm& algorithm : cuda::algorithms()) std::puts(algorithm.name);
    return 0;
  }
  return host::serve(
      [](const host::Request& request, void* const(&data)[5]) { return run(request, data); });
}

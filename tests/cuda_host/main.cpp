// Runs the CUDA algorithms on the CPU for tests/test_cuda_kernels.py. Reads requests from standard
// input and answers each on standard output; both are described in tests/cuda_host/__init__.py.
// Every buffer has exactly the size of its tensor; result and workspace begin as NaN.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

#include "cuda/algorithms.h"
#include "cuda/device.h"

namespace {

using namespace torchconv;

// Real threads that wait for each other wait for ever; the fibers notice it themselves.
constexpr unsigned kSecondsPerRequest = 120;

struct Request {
  char algorithm[32];
  int64_t op, dtype, channels_last, allow_tf32, backwards, misaligned_by;
  int64_t n, c, h, w, k, r, s, p, q;
  int64_t stride_h, stride_w, pad_top, pad_bottom, pad_left, pad_right, dilation_h, dilation_w;
  int64_t groups;
  int64_t weight_stride[4];
  int64_t bytes[5];  // input, weight, bias, grad, result; 0 where absent
};

// 16-byte aligned as memory of a GPU is, or off by some bytes as a slice of it may be, and followed
// by nothing that may be touched.
struct Buffer {
  explicit Buffer(int64_t bytes, int64_t misaligned_by = 0) {
    if (!bytes) return;
    if (posix_memalign(&memory, 16, bytes + misaligned_by)) std::abort();
    data = (char*)memory + misaligned_by;
    std::memset(data, 0xff, bytes);
  }
  ~Buffer() { std::free(memory); }
  void *memory = nullptr, *data = nullptr;
};

bool read_exactly(void* to, int64_t bytes) {
  return bytes == 0 || std::fread(to, 1, bytes, stdin) == (size_t)bytes;
}

Conv2dShape shape_of(const Request& q) {
  return {q.n,
          q.c,
          q.h,
          q.w,
          q.k,
          q.r,
          q.s,
          q.p,
          q.q,
          q.stride_h,
          q.stride_w,
          q.pad_top,
          q.pad_bottom,
          q.pad_left,
          q.pad_right,
          q.dilation_h,
          q.dilation_w,
          q.groups,
          (Dtype)q.dtype,
          q.channels_last ? Layout::kChannelsLast : Layout::kContiguous};
}

// 1: computed, 0: the algorithm does not apply, 2: the launch failed.
int64_t run(const Request& request, void* const (&data)[5]) {
  const Conv2dShape shape = shape_of(request);
  const Op op = (Op)request.op;
  for (const cuda::Algorithm& algorithm : cuda::algorithms()) {
    if (std::strcmp(algorithm.name, request.algorithm)) continue;
    if (!algorithm.applicable(op, shape)) return 0;
    const Buffer workspace(algorithm.workspace_bytes(op, shape));
    cuda::Task task{};
    task.op = op;
    task.shape = shape;
    task.input = data[0], task.weight = data[1], task.bias = data[2], task.grad = data[3];
    std::memcpy(task.weight_stride, request.weight_stride, sizeof task.weight_stride);
    task.result = data[4];
    task.workspace = workspace.data;
    task.allow_tf32 = request.allow_tf32;
    cuda::host::backwards = request.backwards;
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
  Request request;
  while (read_exactly(&request, sizeof request)) {
    const int64_t off = request.misaligned_by;
    const Buffer input(request.bytes[0], off), weight(request.bytes[1], off),
        bias(request.bytes[2], off), grad(request.bytes[3], off), result(request.bytes[4], off);
    const Buffer* const buffers[] = {&input, &weight, &bias, &grad, &result};
    void* data[5];
    for (int i = 0; i < 5; ++i) {
      data[i] = buffers[i]->data;
      if (i < 4 && !read_exactly(data[i], request.bytes[i])) return 1;
    }
    alarm(kSecondsPerRequest);
    const int64_t status = run(request, data);
    alarm(0);
    std::fwrite(&status, sizeof status, 1, stdout);
    std::fwrite(result.data, 1, request.bytes[4], stdout);
    std::fflush(stdout);
  }
}

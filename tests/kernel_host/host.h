// What the programs have in common that run kernels for the tests: they read requests from standard
// input and answer each on standard output; both are described in tests/kernel_host/__init__.py.
// Every buffer has exactly the size of its tensor; results begin as NaN.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "conv2d.h"

namespace torchconv::host {

// Threads that wait for each other wait for ever.
constexpr unsigned kSecondsPerRequest = 120;

struct Request {
  char algorithm[32];
  int64_t options[5];  // their meaning depends on the program
  int64_t op, dtype, channels_last, misaligned_by;
  int64_t n, c, h, w, k, r, s, p, q;
  int64_t stride_h, stride_w, pad_top, pad_bottom, pad_left, pad_right, dilation_h, dilation_w;
  int64_t groups;
  int64_t weight_stride[4];
  int64_t bytes[5];  // input, weight, bias, grad, result; 0 where absent
};

// Aligned as memory of a new tensor is, or off by some bytes as a slice of it may be, and followed
// by nothing that may be touched.
struct Buffer {
  explicit Buffer(int64_t bytes, int64_t misaligned_by = 0, size_t alignment = 16) {
    if (!bytes) return;
    if (posix_memalign(&memory, alignment, bytes + misaligned_by)) std::abort();
    data = (char*)memory + misaligned_by;
    std::memset(data, 0xff, bytes);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(memory); }
  void *memory = nullptr, *data = nullptr;
};

inline bool read_exactly(void* to, int64_t bytes) {
  return bytes == 0 || std::fread(to, 1, bytes, stdin) == (size_t)bytes;
}

inline Conv2dShape shape_of(const Request& q) {
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

// run(request, data) computes data[4] and returns a status. For main() to return.
template <class Run>
int serve(const Run& run) {
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
    if (result.data) std::fwrite(result.data, 1, request.bytes[4], stdout);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace torchconv::host

// The host half of device.h: blocks run one after the other, the threads of a block at a time, with
// the traps that a GPU hides made visible. Shared memory is NaN at the start of a block and has
// exactly the size asked for; an asynchronous copy arrives no sooner than it is waited for; a
// misaligned vector, and a barrier or collective that some thread skips, end the program.
// How threads take turns is in host_threads.h. Only the order of sums inside one tensor core
// operation differs from the device.
#pragma once

#include <cstdlib>
#include <cstring>
#include <vector>

#include "cpu/simd/scalar.h"
#include "cuda_host/host_threads.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

namespace torchconv::cuda {

using cpu::from_compute;
using cpu::fused;
using cpu::to_compute;

inline int thread_index() {
  return host::current_thread().index;
}
inline Index3 block_index() {
  return host::current_thread().block;
}
inline Index3 grid_size() {
  return host::running_block().grid;
}
inline void sync_block() {
  host::current_thread().wait_for_block();
}

template <class T>
T& shared_memory() {
  static const char kind = 0;
  return *static_cast<T*>(host::running_block().shared_memory(&kind, sizeof(T)));
}

inline uint32_t high_product(uint32_t a, uint32_t b) {
  return (uint32_t)((uint64_t)a * b >> 32);
}
inline uint64_t high_product(uint64_t a, uint64_t b) {
  const uint64_t low = a & 0xffffffff, high = a >> 32, b_low = b & 0xffffffff, b_high = b >> 32;
  const uint64_t middle = high * b_low + (low * b_low >> 32);
  const uint64_t other = low * b_high + (middle & 0xffffffff);
  return high * b_high + (middle >> 32) + (other >> 32);
}
// Ten bits of fraction stay; ties away from zero.
inline uint32_t to_tf32(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  return x == x ? (bits + 0x1000) & ~0x1fffu : bits;
}

inline float bits_to_float(uint32_t bits) {
  return __builtin_bit_cast(float, bits);
}

inline void check_alignment(const void* address, size_t bytes) {
  if ((uintptr_t)address % bytes) host::fail("a misaligned access of several elements");
}
template <class S>
Vector<S> load_vector(const S* from) {
  check_alignment(from, 16);
  Vector<S> v;
  std::memcpy(v.at, from, 16);
  return v;
}
template <class S>
Vector<S> read_vector(const S* from) {
  return load_vector(from);
}
template <class S>
void store_vector(S* to, const Vector<S>& v) {
  check_alignment(to, 16);
  std::memcpy(to, v.at, 16);
}

template <int Bytes>
void copy_async(void* shared, const void* global, bool inside) {
  static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16);
  check_alignment(shared, Bytes);
  check_alignment(global, Bytes);
  host::current_thread().copies.push_back({shared, inside ? global : nullptr, Bytes});
}
inline void commit_copies() {
  host::Thread& thread = host::current_thread();
  thread.groups.push_back(std::move(thread.copies));
  thread.copies.clear();
}
template <int Pending>
void wait_copies() {
  auto& groups = host::current_thread().groups;
  while (groups.size() > Pending) {
    for (const host::Copy& copy : groups.front()) {
      if (copy.from) {
        std::memcpy(copy.to, copy.from, copy.bytes);
      } else {
        std::memset(copy.to, 0, copy.bytes);
      }
    }
    groups.erase(groups.begin());
  }
}

inline void load_matrices(uint32_t (&m)[4], const void* row) {
  check_alignment(row, 16);
  const void* const* rows = host::current_thread().exchange(row);
  const int lane = thread_index() % kWarp;
  for (int i = 0; i < 4; ++i)
    std::memcpy(&m[i], (const char*)rows[8 * i + lane / 4] + 4 * (lane % 4), 4);
}

inline void load_matrices_transposed(uint32_t (&m)[4], const void* row) {
  check_alignment(row, 16);
  const void* const* rows = host::current_thread().exchange(row);
  const int lane = thread_index() % kWarp;
  for (int i = 0; i < 4; ++i) {
    uint16_t two[2];
    for (int e = 0; e < 2; ++e)
      std::memcpy(&two[e], (const char*)rows[8 * i + 2 * (lane % 4) + e] + 2 * (lane / 4), 2);
    m[i] = (uint32_t)two[1] << 16 | two[0];
  }
}

// Where the PTX manual puts the elements of a and b: registers of lanes. A register holds `Packed`
// neighbours along the reduction.
struct Fragments {
  uint32_t a[4], b[2];
};
template <int Packed>
uint32_t element_of_a(const Fragments* lanes, int row, int k) {
  const int lane = row % 8 * 4 + k / Packed % 4, part = k / (4 * Packed);
  return lanes[lane].a[row / 8 + 2 * part] >> (Packed == 2 ? k % 2 * 16 : 0);
}
template <int Packed>
uint32_t element_of_b(const Fragments* lanes, int k, int column) {
  const int lane = column * 4 + k / Packed % 4, part = k / (4 * Packed);
  return lanes[lane].b[part] >> (Packed == 2 ? k % 2 * 16 : 0);
}

template <int Packed, class Value>
void multiply_fragments(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                        const Value& value) {
  const Fragments* lanes =
      host::current_thread().exchange(Fragments{{a[0], a[1], a[2], a[3]}, {b0, b1}});
  const int lane = thread_index() % kWarp;
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
    for (int k = 0; k < 8 * Packed; ++k) {
      d[i] = fused(value(element_of_a<Packed>(lanes, row, k)),
                   value(element_of_b<Packed>(lanes, k, column)), d[i]);
    }
  }
}

template <class S>
void multiply_16x8x16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, S) {
  multiply_fragments<2>(d, a, b0, b1, [](uint32_t bits) { return to_compute(S{(uint16_t)bits}); });
}
inline void multiply_16x8x8_tf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  multiply_fragments<1>(d, a, b0, b1, [](uint32_t bits) {
    return __builtin_bit_cast(float, bits & ~0x1fffu);  // the hardware does not read the rest
  });
}

template <int Threads, class... Arguments>
cudaError_t launch(void (*kernel)(Arguments...), Index3 grid, cudaStream_t,
                   const Arguments&... arguments) {
  static_assert(Threads % kWarp == 0 && Threads <= 1024);
  if (grid.x < 1 || grid.y < 1 || grid.z < 1 || grid.y > 65535 || grid.z > 65535)
    return cudaErrorInvalidConfiguration;
  host::run_grid(Threads, grid, [&] { kernel(arguments...); });
  return cudaSuccess;
}

}  // namespace torchconv::cuda

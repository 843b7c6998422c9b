// The device half of device.h: thin wrappers of intrinsics and PTX. sm_80 and later.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace torchconv::cuda {

__device__ __forceinline__ int thread_index() {
  return (int)threadIdx.x;
}
__device__ __forceinline__ Index3 block_index() {
  return {(int)blockIdx.x, (int)blockIdx.y, (int)blockIdx.z};
}
__device__ __forceinline__ Index3 grid_size() {
  return {(int)gridDim.x, (int)gridDim.y, (int)gridDim.z};
}
__device__ __forceinline__ void sync_block() {
  __syncthreads();
}

template <class T>
__device__ __forceinline__ T& shared_memory() {
  __shared__ T storage;
  return storage;
}

__device__ __forceinline__ float to_compute(float x) {
  return x;
}
__device__ __forceinline__ double to_compute(double x) {
  return x;
}
__device__ __forceinline__ float to_compute(BFloat16 x) {
  return __uint_as_float((uint32_t)x.bits << 16);
}
__device__ __forceinline__ float to_compute(Float16 x) {
  return __half2float(__ushort_as_half(x.bits));
}
__device__ __forceinline__ void from_compute(float* to, float x) {
  *to = x;
}
__device__ __forceinline__ void from_compute(double* to, double x) {
  *to = x;
}
__device__ __forceinline__ void from_compute(BFloat16* to, float x) {
  to->bits = __bfloat16_as_ushort(__float2bfloat16_rn(x));
}
__device__ __forceinline__ void from_compute(Float16* to, float x) {
  to->bits = __half_as_ushort(__float2half_rn(x));
}
__device__ __forceinline__ float fused(float a, float b, float c) {
  return fmaf(a, b, c);
}
__device__ __forceinline__ double fused(double a, double b, double c) {
  return fma(a, b, c);
}
__device__ __forceinline__ uint32_t high_product(uint32_t a, uint32_t b) {
  return __umulhi(a, b);
}
__device__ __forceinline__ uint64_t high_product(uint64_t a, uint64_t b) {
  return __umul64hi(a, b);
}
__device__ __forceinline__ uint32_t to_tf32(float x) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}

__device__ __forceinline__ float bits_to_float(uint32_t bits) {
  return __uint_as_float(bits);
}

template <class S>
__device__ __forceinline__ Vector<S> load_vector(const S* from) {
  Vector<S> v;
  *reinterpret_cast<uint4*>(&v) = __ldg(reinterpret_cast<const uint4*>(from));
  return v;
}
// The same of shared memory, or of global memory that this kernel has written.
template <class S>
__device__ __forceinline__ Vector<S> read_vector(const S* from) {
  Vector<S> v;
  *reinterpret_cast<uint4*>(&v) = *reinterpret_cast<const uint4*>(from);
  return v;
}
template <class S>
__device__ __forceinline__ void store_vector(S* to, const Vector<S>& v) {
  *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(&v);
}

// Bytes is 4, 8 or 16, both addresses aligned to it; zeros arrive where !inside.
template <int Bytes>
__device__ __forceinline__ void copy_async(void* shared, const void* global, bool inside) {
  const uint32_t to = (uint32_t)__cvta_generic_to_shared(shared);
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(global), "n"(Bytes),
               "r"(inside ? Bytes : 0)
               : "memory");
}
__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// All but the last `Pending` groups of this thread have arrived.
template <int Pending>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

// Lane 8 i + j passes the address of row j of matrix i, 16 bytes in shared memory, and receives in
// m[i] elements 2 (lane % 4) and the next of row lane / 4.
__device__ __forceinline__ void load_matrices(uint32_t (&m)[4], const void* row) {
  const uint32_t from = (uint32_t)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(from)
               : "memory");
}

// The same of the transposed matrices: elements 2 (lane % 4) and the next of column lane / 4.
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&m)[4], const void* row) {
  const uint32_t from = (uint32_t)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(from)
               : "memory");
}

__device__ __forceinline__ void multiply_16x8x16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                                 uint32_t b1, BFloat16) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void multiply_16x8x16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                                 uint32_t b1, Float16) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void multiply_16x8x8_tf32(float (&d)[4], const uint32_t (&a)[4],
                                                     uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The kernel starts on the stream with blocks of `Threads` threads; only the launch is checked.
template <int Threads, class... Arguments>
cudaError_t launch(void (*kernel)(Arguments...), Index3 grid, cudaStream_t stream,
                   const Arguments&... arguments) {
  kernel<<<dim3(grid.x, grid.y, grid.z), Threads, 0, stream>>>(arguments...);
  return cudaGetLastError();
}

}  // namespace torchconv::cuda

// The gradient of the bias: one sum per output channel, over images and pixels. Every sum is dealt
// out to running sums in an order that knows nothing of vectors or threads.
//
//     contiguous      job = channel: its planes, element i to running sum i modulo 64 bytes * 4
//     channels_last   stage 0, job = chunk of pixels: whole rows of channels, or for few channels
//                     as many rows as fill whole vectors, are added to one such row
//                     stage 1: the chunks' sums are added up
//
// Included inside the namespace of each isa_*.cpp.
#pragma once

template <class S>
void sum_planes(const Task& task, int64_t channel) {
  using T = Compute<S>;
  using V = Simd<T>;
  constexpr int64_t kLanes = V::kLanes, kSums = 4 * kBlock<T>, kRun = 64 * kSums;
  constexpr int kVecs = kSums / kLanes;
  const Conv2dShape& d = task.shape;
  const int64_t plane = d.p * d.q;
  typename V::Vec total[kVecs];
  for (auto& v : total) v = V::zero();
  for (int64_t n = 0; n < d.n; ++n) {
    const S* const in = (const S*)task.grad + (n * d.k + channel) * plane;
    for (int64_t run = 0; run < plane; run += kRun) {
      const int64_t end = smaller(run + kRun, plane);
      typename V::Vec sum[kVecs];
      for (auto& v : sum) v = V::zero();
      int64_t i = run;
      for (; i + kSums <= end; i += kSums) {
#pragma GCC unroll 16
        for (int v = 0; v < kVecs; ++v) sum[v] = V::add(sum[v], V::load(in + i + v * kLanes));
      }
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) {
        const int64_t at = i + v * kLanes;
        if (at < end) {
          sum[v] = V::add(sum[v],
                          at + kLanes <= end ? V::load(in + at) : V::load_first(in + at, end - at));
        }
        total[v] = V::add(total[v], sum[v]);
      }
    }
  }
  T lanes[kSums];
  for (int v = 0; v < kVecs; ++v) V::store(lanes + v * kLanes, total[v]);
  for (int64_t half = kSums / 2; half > 0; half /= 2) {
    for (int64_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  from_compute((S*)task.result + channel, lanes[0]);
}

// sums[i] += in[i]
template <class S>
void add_run(const S* in, int64_t count, Compute<S>* sums) {
  using V = Simd<Compute<S>>;
  int64_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) {
    V::store(sums + i, V::add(V::load(sums + i), V::load(in + i)));
  }
  if (i < count) V::store(sums + i, V::add(V::load(sums + i), V::load_first(in + i, count - i)));
}

template <class S>
void sum_pixels(const Task& task, const GradBiasPlan& z, int64_t chunk, Compute<S>* partial,
                Compute<S>* sums) {
  const int64_t k = task.shape.k, begin = chunk * z.chunk_pixels * k;
  const int64_t end = smaller(begin + z.chunk_pixels * k, z.pixels * k), row = z.row_pixels * k;
  fill_zero(sums, z.row_size);
  for (int64_t at = begin; at < end; at += row) {
    add_run((const S*)task.grad + at, smaller(row, end - at), sums);
  }
  Compute<S>* const out = partial + chunk * k;
  for (int64_t i = 0; i < k; ++i) {
    out[i] = sums[i];
    for (int64_t j = 1; j < z.row_pixels; ++j) out[i] += sums[j * k + i];
  }
}

inline void grad_bias(const Task& task, const Job& job) {
  const auto& z = *(const GradBiasPlan*)job.details;
  dispatch_dtype(task.shape.dtype, [&](auto* storage) {
    using S = std::remove_pointer_t<decltype(storage)>;
    using T = Compute<S>;
    if (z.planes) return sum_planes<S>(task, job.index);
    T* const partial = (T*)job.shared;
    if (job.stage == 0) return sum_pixels<S>(task, z, job.index, partial, (T*)job.scratch);
    for (int64_t i = 0; i < task.shape.k; ++i) {
      T sum = 0;
      for (int64_t chunk = 0; chunk < z.chunks; ++chunk) sum += partial[chunk * task.shape.k + i];
      from_compute((S*)task.result + i, sum);
    }
  });
}

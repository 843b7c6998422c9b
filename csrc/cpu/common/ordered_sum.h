// The sums of the chunks of one call: where they are kept, and their addition in the order of the samples.
#pragma once

#include "cpu/common/copy.h"
#include "cpu/common/sample_chunks.h"

namespace torchconv::cpu {
namespace {

// Where the chunks of one call keep their sums: the total, then the partial sums of a wave.
template <class T>
struct WaveSums {
  const SampleChunks& chunks;
  int64_t n, first_chunk;
  T* total;
  int64_t size;  // elements of the sums of one chunk

  WaveSums(const SampleChunks& chunks, int64_t n, int64_t size, const Job& job)
      : chunks(chunks),
        n(n),
        first_chunk(job.repeat * chunks.wave),
        total((T*)job.shared),
        size(size) {}

  int64_t waiting() const { return smaller(chunks.wave, chunks.count(n) - first_chunk); }
  bool ends_the_sum() const { return first_chunk + chunks.wave >= chunks.count(n); }
  T* partial(int64_t in_wave) const { return total + (in_wave + 1) * size; }
  SampleChunk chunk(int64_t in_wave) const {
    const int64_t index = first_chunk + in_wave;
    const int64_t image = index / chunks.parts * chunks.images;
    return {image, smaller(n, image + chunks.images), index % chunks.parts, chunks.parts};
  }
};

// The elements [begin, begin + count) of the total; null until the last wave is in it.
template <class T>
T* add_wave(const WaveSums<T>& sums, int64_t begin, int64_t count) {
  T* const total = sums.total + begin;
  if (sums.first_chunk == 0) fill_zero(total, count);
  for (int64_t i = 0; i < sums.waiting(); ++i) {
    copy_span(sums.partial(i) + begin, total, count, total);
  }
  return sums.ends_the_sum() ? total : nullptr;
}

}  // namespace
}  // namespace torchconv::cpu

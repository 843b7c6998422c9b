// A sum over the batch in chunks: several threads sum a chunk each, and the chunks' sums are added in the
// order of the samples. A chunk is some whole images, or a part of the rows of one image; how many there
// are depends on the batch, what a chunk is does not. No torch, no SIMD.
#pragma once

#include "cpu/common/arithmetic.h"
#include "cpu/plan.h"

namespace torchconv::cpu {

struct SampleChunks {
  int64_t
      images;     // of a chunk; 0: the whole batch is one chunk, and a job writes its result itself
  int64_t parts;  // that the rows of an image are cut into; then a chunk is one image at most
  int64_t wave;   // chunks whose sums are kept at once

  bool whole_batch() const { return images == 0; }
  int64_t count(int64_t n) const { return whole_batch() ? 1 : ceil_div(n, images) * parts; }

  // Stage 0 sums the chunks of a wave, stage 1 adds them to the total, wave after wave. Each chunk is
  // the work of `jobs` jobs, whose sums together take sums_bytes.
  void plan_waves(int64_t n, int64_t jobs, int64_t sums_bytes, Plan& plan) const {
    plan.jobs[0] = jobs;
    if (whole_batch()) return;
    plan.stages = 2;
    const int64_t at_once = smaller(wave, count(n));
    plan.jobs[0] = jobs * at_once;
    plan.jobs[1] = jobs;
    plan.repeats = ceil_div(count(n), wave);
    plan.shared_bytes = (at_once + 1) * sums_bytes;
  }
};

// One chunk of a wave.
struct SampleChunk {
  int64_t image_begin, image_end;
  int64_t part, parts;

  // The chunk's share of the rows of its images, or of anything else that comes in their order.
  Range share_of(int64_t whole) const { return share(part, parts, whole); }
};

}  // namespace torchconv::cpu

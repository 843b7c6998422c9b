// Offsets of the taps that a tile needs where others see padding only. A tile that walks around them
// in bursts of two or three steps is slow; through a table it runs without a break. No torch, no
// SIMD.
#pragma once

#include "cpu/plan.h"

namespace torchconv::cpu {

// From so many steps on, bursts between gaps run as fast as a table and need none.
constexpr int64_t kShortBurst = 16;

// The tables of one job, made when a tile first asks for them and then shared by its chunks, slabs
// and rows. What they hold depends on the taps alone, so replacing one is never wrong.
struct TapTables {
  static constexpr int64_t kMost = 32;

  struct Taps {
    const int64_t* offset;   // of all taps of a phase, in the order c, r, s
    int64_t r_taps, s_taps;  // of this phase
    int64_t width;           // lanes from step to step of the packed weights
    int64_t r_begin, r_end, s_begin, s_end;

    bool operator==(const Taps& o) const {
      return offset == o.offset && width == o.width && r_begin == o.r_begin && r_end == o.r_end &&
             s_begin == o.s_begin && s_end == o.s_end;
    }
  };

  int64_t* memory;  // [most][slot]
  int64_t most, slot;
  int64_t channels;             // of a chunk; a shorter one uses the beginning
  int64_t count = 0, next = 0;  // tables made, and the slot of the next one
  Taps made[kMost];

  int64_t steps(const Taps& t) const {
    return channels * (t.r_end - t.r_begin) * (t.s_end - t.s_begin);
  }

  // Offsets of pixels, then as many of weights.
  const int64_t* find(const Taps& t) {
    for (int64_t i = 0; i < count; ++i) {
      if (made[i] == t) return memory + i * slot;
    }
    int64_t* const table = memory + next * slot;
    int64_t *pixels = table, *weights = table + steps(t);
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t i = t.r_begin; i < t.r_end; ++i) {
        const int64_t row = (c * t.r_taps + i) * t.s_taps;
        for (int64_t j = t.s_begin; j < t.s_end; ++j) {
          *pixels++ = t.offset[row + j];
          *weights++ = (row + j) * t.width;
        }
      }
    }
    made[next] = t;
    count = larger(count, next + 1);
    next = next + 1 == most ? 0 : next + 1;
    return table;
  }
};

}  // namespace torchconv::cpu

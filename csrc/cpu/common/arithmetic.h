// Arithmetic of sizes. No torch, no SIMD.
#pragma once

#include "conv2d.h"

namespace torchconv::cpu {

constexpr int64_t round_up(int64_t a, int64_t b) {
  return ceil_div(a, b) * b;
}

// The largest power of two up to `most`, at least 1: jobs that threads share evenly.
constexpr int64_t power_of_two_up_to(int64_t most) {
  int64_t power = 1;
  while (2 * power <= most) power *= 2;
  return power;
}

// Parts of what `jobs` jobs compute, so that all threads have work. Every part loads the same source again:
// a power of two up to `most`, and no more of them than evenly loaded threads need.
constexpr int64_t parts_for_threads(int64_t jobs, int64_t threads, int64_t most) {
  const auto busy = [=](int64_t count) {
    return threads == 1 || count >= 8 * threads || (count >= 2 * threads && count % threads == 0);
  };
  int64_t parts = 1;
  while (2 * parts <= most && !busy(jobs * parts)) parts *= 2;
  return parts;
}

// Rows of each thread where they share those of one image, or of fewer images than there are threads.
constexpr int64_t rows_of_thread(int64_t rows, int64_t images, int64_t threads) {
  return ceil_div(rows, ceil_div(threads, images));
}

constexpr int64_t greatest_common_divisor(int64_t a, int64_t b) {
  while (b) {
    const int64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

// In whole cache lines, an odd number of them: things that far apart spread over the sets of a cache.
// `line`: elements of one.
constexpr int64_t odd_lines(int64_t size, int64_t line) {
  return (ceil_div(size, line) | 1) * line;
}

// The part of the lanes that hold something when `count` things go into vectors.
constexpr double filled_lanes(int64_t count, int64_t lanes) {
  return (double)count / (double)round_up(count, lanes);
}

// A whole in equal parts, of which the last one may be shorter.
struct Cut {
  int64_t size = 1, count = 1;

  // In at most `most` parts of about the same size.
  static constexpr Cut into(int64_t most, int64_t whole) {
    return of(ceil_div(whole, most), whole);
  }
  // In parts of this size.
  static constexpr Cut of(int64_t size, int64_t whole) { return {size, ceil_div(whole, size)}; }

  int64_t begin(int64_t part) const { return part * size; }
  int64_t length(int64_t part, int64_t whole) const { return smaller(size, whole - part * size); }
};

// The size of equal parts of `whole`, each at most `most`.
constexpr int64_t even_part(int64_t whole, int64_t most) {
  return Cut::into(ceil_div(whole, most), whole).size;
}

// Some of a row of things: [begin, end).
struct Range {
  int64_t begin, end;
};

// One of `parts` parts of a whole, none more than one longer than another.
constexpr Range share(int64_t part, int64_t parts, int64_t whole) {
  return {part * whole / parts, (part + 1) * whole / parts};
}

// Which of the `count` coordinates first, first + step, ... lie in [0, size).
constexpr Range inside(int64_t first, int64_t step, int64_t count, int64_t size) {
  const int64_t begin = first >= 0 ? 0 : smaller(count, ceil_div(-first, step));
  return {begin, larger(begin, smaller(count, size > first ? ceil_div(size - first, step) : 0))};
}

}  // namespace torchconv::cpu

// Which kernel takes a run of pixels (pixel_run.h): by its taps, its step, the pixels and the padding it sees.
#pragma once

#include "cpu/depthwise/pixel_run.h"

namespace torchconv::cpu {
namespace {

template <class X, int kTaps>
constexpr int kMostRunPixels = kRunPixels / kRunVecs<X, kTaps>;

// Vectors hold 16 floats.
template <class X>
constexpr bool kHasEvenOddRuns = std::is_same_v<X, BFloat16> && Simd<float>::kLanes == kRunLanes;

// So many bits.
constexpr uint64_t first_columns(int64_t count) {
  return ((uint64_t)1 << count) - 1;
}

// Only rows shorter than half a run have runs that short: none is worth more than the kernels with tests.
template <class X, class Reach>
void depthwise_run(const DepthwiseRun<X>& t) {
  constexpr bool kLong = 2 * Reach::kPixels >= kMostRunPixels<X, Reach::kTaps>;
  const int64_t whole = !kLong && t.repeated_columns ? 0 : t.channels - t.channels % kRunLine<X>;
  int64_t done = 0;
  const auto run_to = [&](auto even_odd, int64_t end) {
    const int64_t begin = done;
    done = end;
    if constexpr (kLong && Reach::kRepeats && !even_odd.value) {
      if (t.repeated_columns) return depthwise_run_of<X, Reach, RunEdges::kRepeated>(t, begin, end);
    }
    if constexpr (kLong) {
      if (t.inside == first_columns(Reach::columns(t.taps)))
        return depthwise_run_of<X, Reach, RunEdges::kNone, even_odd.value>(t, begin, end);
    }
    depthwise_run_of<X, Reach, RunEdges::kColumns, even_odd.value>(t, begin, end);
  };
  if constexpr (kHasEvenOddRuns<X> && Reach::kTaps <= kEvenOddTaps && !Reach::kParts) {
    constexpr int64_t kPair = 2 * kRunLine<X>;
    if (t.w_even_odd && whole >= kPair) run_to(std::true_type{}, whole - whole % kPair);
  }
  if (done < whole) run_to(std::false_type{}, whole);
  if (whole < t.channels) depthwise_run_of<X, Reach, RunEdges::kLanes>(t, whole, t.channels);
}

// Compiled where vectors stay in registers, and for the type that networks are trained in.
template <class T>
constexpr bool kHasRuns = kLargeTiles<T> && 64 / sizeof(T) == kRunLanes;

template <class X>
using DepthwiseRunKernel = void (*)(const DepthwiseRun<X>&);

template <class X, int kTaps, int kStep>
DepthwiseRunKernel<X> run_of_pixels(int64_t pixels) {
  return dispatch_int<1, kMostRunPixels<X, kTaps>>(pixels, [](auto count) -> DepthwiseRunKernel<X> {
    return depthwise_run<X, GatherReach<kTaps, kStep, count.value>>;
  });
}

// Null for a step that is not compiled.
template <class X>
DepthwiseRunKernel<X> depthwise_run_kernel(int64_t taps, int64_t step, int64_t pixels) {
  if (in_parts(taps, step)) {
    return dispatch_int<1, kMostRunPixels<X, kPartTaps>>(
        pixels, [](auto count) -> DepthwiseRunKernel<X> {
          return depthwise_run<X, PartsReach<2, count.value>>;
        });
  }
  return dispatch_int<1, kRunTaps>(taps, [&](auto count) -> DepthwiseRunKernel<X> {
    constexpr int kTaps = count.value;
    if (step == 1) return run_of_pixels<X, kTaps, 1>(pixels);
    if constexpr (has_run(kTaps, 2) && !in_parts(kTaps, 2)) {
      if (step == 2) return run_of_pixels<X, kTaps, 2>(pixels);
    }
    return nullptr;
  });
}

// The most pixels of a run.
template <class X>
int64_t run_pixels(int64_t taps, int64_t step) {
  if (in_parts(taps, step)) return kMostRunPixels<X, kPartTaps>;
  return dispatch_int<1, kRunTaps>(
      taps, [](auto count) -> int64_t { return kMostRunPixels<X, count.value>; });
}

// What a run of the input gradient of stride two, with `pixels` destination pixels, sees.
template <class X>
struct DepthwiseSpread {
  DepthwiseRunKernel<X> run;
  int64_t pixels, last, columns;  // last: from the source column of first to the last one seen
};

template <class X, int kTaps, int kFirst>
DepthwiseSpread<X> spread_of_taps() {
  using Reach = SpreadReach<kTaps, kFirst, kMostRunPixels<X, kTaps>>;
  return {depthwise_run<X, Reach>, Reach::kPixels, Reach::kLast, Reach::kColumns};
}

// Without a kernel where it is not compiled.
template <class X>
DepthwiseSpread<X> depthwise_spread(int64_t taps, bool odd) {
  if (taps == 3) return odd ? spread_of_taps<X, 3, 1>() : spread_of_taps<X, 3, 0>();
  if (taps == 5) return odd ? spread_of_taps<X, 5, 1>() : spread_of_taps<X, 5, 0>();
  return {};
}

}  // namespace
}  // namespace torchconv::cpu

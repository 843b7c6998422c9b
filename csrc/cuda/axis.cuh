// How the pixels of the result, the taps of the kernel and the pixels of the gathered tensor meet
// along one axis: the same description for forward and grad_input.
#pragma once

#include "cuda/device/index_math.h"

namespace torchconv::cuda {

// One axis of the result, seen from the tensor that is gathered. Every stride-th pixel of grad_input
// meets the same taps: they are a phase, and a phase is a convolution of stride one.
struct Axis {
  int pixels, first_pixel, pixel_step;       // of the result: first + i * step
  int origin, source_step, source_tap_step;  // of the source: origin + i * step + tap * tap step
  int taps, first_tap, tap_step;             // of the kernel: first + i * step
};

__device__ __forceinline__ Axis forward_axis(int pixels, int pad, int stride, int dilation,
                                             int taps) {
  return {pixels, 0, 1, -pad, stride, dilation, taps, 0, 1};
}

// `common` is the greatest common divisor of stride and dilation.
__device__ __forceinline__ Axis grad_input_axis(int phase, int pixels, int pad, int stride,
                                                int dilation, int taps, int common) {
  const int period = stride / common, turn = dilation % stride;
  int first = 0;
  int rest = (phase + pad) % stride;  // of phase + pad - first * dilation
  for (; rest && first < taps && first < period; ++first)
    rest -= rest < turn ? turn - stride : turn;
  const int count = rest || first >= taps ? 0 : (taps - first + period - 1) / period;
  return {(pixels - phase + stride - 1) / stride,
          phase,
          stride,
          count ? (phase + pad - first * dilation) / stride : 0,
          1,
          -(dilation / common),
          count,
          first,
          period};
}

}  // namespace torchconv::cuda

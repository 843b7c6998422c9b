// The reasons stand apart from the conditions they explain, which are part of the kernels' text: a
// GPU accepts that text as it is, and a word in a message must not make it another.
#include "cuda/refusal.h"

namespace torchconv::cuda {
namespace {

// What is left of every algorithm but the reference: see general_applicable.
constexpr const char* kTooLarge =
    "the padded image, the kernel or a group is too large for 32-bit indices";

const char* depthwise_reason(const Conv2dShape& d) {
  return d.groups != d.c ? "a group has several input channels" : kTooLarge;
}

// Of the algorithms for planes of half types, whatever their kernels.
const char* half_planes_reason(const Conv2dShape& d) {
  if (d.groups != d.c) return "a group has several input channels";
  if (d.k != d.c) return "a group has several output channels";
  if (d.dtype != Dtype::kBFloat16 && d.dtype != Dtype::kFloat16)
    return "the dtype is not a half type";
  return d.layout == Layout::kContiguous ? nullptr : "channels lie side by side in memory";
}

const char* too_large_reason(const Conv2dShape& d) {
  return d.c >= 1 << 16 ? "there are more than 65535 channels" : kTooLarge;
}

const char* toeplitz_reason(const Conv2dShape& d) {
  if (const char* const reason = half_planes_reason(d)) return reason;
  if (d.r != d.s || d.r < 7 || d.r > 32) return "the kernel is not square, of 7 to 32 rows";
  if (d.stride_h != 1 || d.stride_w != 1) return "the stride is not 1";
  if (d.dilation_h != 1 || d.dilation_w != 1) return "the kernel is dilated";
  return too_large_reason(d);
}

const char* halves_reason(Op op, const Conv2dShape& d) {
  if (const char* const reason = half_planes_reason(d)) return reason;
  if (d.r != d.s || (d.r != 3 && d.r != 5)) return "the kernel is neither 3x3 nor 5x5";
  if (d.stride_h != d.stride_w || d.stride_h > 2) return "the strides are not both 1 or both 2";
  if (op == Op::kGradInput && d.stride_h != 1) return "the input gradient of stride 2";
  if (d.dilation_h != 1 || d.dilation_w != 1) return "the kernel is dilated";
  return too_large_reason(d);
}

const char* grouped_reason(const Conv2dShape& d) {
  if (d.groups == 1) return "there is one group";
  const int64_t channels = larger(d.c_per_group(), d.k_per_group());
  return channels > 16 ? "a group has more than 16 channels" : kTooLarge;
}

}  // namespace

const char* refusal(const Algorithm& algorithm, Op op, const Conv2dShape& shape) {
  if (algorithm.applicable(op, shape)) return nullptr;
  // The list holds copies, which share their names.
  const auto is = [&](const Algorithm& one) { return algorithm.name == one.name; };
  const bool of_weight = is(kDepthwiseGradWeight) || is(kDepthwiseToeplitzGradWeight);
  const bool of_toeplitz = is(kDepthwiseToeplitz) || is(kDepthwiseToeplitzImages);
  const bool gathers = is(kDepthwise) || is(kDepthwiseHalves) || of_toeplitz;
  if (of_weight && op != Op::kGradWeight) return "computes the weight gradient only";
  if (gathers && op == Op::kGradWeight) return "computes forward and input gradient only";
  if (is(kDepthwise) || is(kDepthwiseGradWeight)) return depthwise_reason(shape);
  if (is(kDepthwiseHalves)) return halves_reason(op, shape);
  if (of_weight || of_toeplitz) return toeplitz_reason(shape);
  return is(kGrouped) ? grouped_reason(shape) : kTooLarge;
}

}  // namespace torchconv::cuda

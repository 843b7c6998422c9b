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

const char* toeplitz_reason(const Conv2dShape& d) {
  if (d.groups != d.c) return "a group has several input channels";
  if (d.k != d.c) return "a group has several output channels";
  if (d.dtype != Dtype::kBFloat16 && d.dtype != Dtype::kFloat16)
    return "the dtype is not a half type";
  if (d.layout != Layout::kContiguous) return "channels lie side by side in memory";
  if (d.r != d.s || d.r < 7 || d.r > 32) return "the kernel is not square, of 7 to 32 rows";
  if (d.stride_h != 1 || d.stride_w != 1) return "the stride is not 1";
  if (d.dilation_h != 1 || d.dilation_w != 1) return "the kernel is dilated";
  return d.c >= 1 << 16 ? "there are more than 65535 channels" : kTooLarge;
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
  const bool gathers = is(kDepthwise) || is(kDepthwiseToeplitz);
  if (of_weight && op != Op::kGradWeight) return "computes the weight gradient only";
  if (gathers && op == Op::kGradWeight) return "computes forward and input gradient only";
  if (is(kDepthwise) || is(kDepthwiseGradWeight)) return depthwise_reason(shape);
  if (of_weight || gathers) return toeplitz_reason(shape);
  return is(kGrouped) ? grouped_reason(shape) : kTooLarge;
}

}  // namespace torchconv::cuda

// Which layers Winograd's algorithms compute, in any direction. No torch, no SIMD.
#pragma once

#include <type_traits>

#include "cpu/common/gather.h"
#include "cpu/common/sum_order.h"
#include "cpu/winograd/filtering.h"
#include "cpu/winograd/parts.h"
#include "cpu/winograd/tile_axis.h"

namespace torchconv::cpu {

constexpr const char* other_kernel(int rows, int columns) {
  if (rows == 3 && columns == 3) return "the kernel is not 3 x 3";
  if (rows == 4 && columns == 4) return "the kernel is not 4 x 4";
  if (rows == 5 && columns == 5) return "the kernel is not 5 x 5";
  if (rows == 1) return columns == 3 ? "the kernel is not 1 x 3" : "the kernel is not 1 x 5";
  return rows == 3 ? "the kernel is not 3 x 1" : "the kernel is not 5 x 1";
}

// Whether an algorithm computes a kernel of its own taps, or other ones, as a sum of such kernels (parts.h).
enum class Kernel { kWhole, kParts };

template <class F>
KernelParts parts_of(const Conv2dShape& shape) {
  return KernelParts(shape.r, shape.s, F::kDown, F::kAcross);
}

template <class F>
const char* unfit_for_parts(const Conv2dShape& shape) {
  const bool one_row = F::Down::kTaps == 1, one_column = F::Across::kTaps == 1;
  if ((shape.r == 1) != one_row || (shape.s == 1) != one_column) {
    if (one_row) return "the kernel is not one row";
    return one_column ? "the kernel is not one column" : "the kernel is one row or column";
  }
  const auto is_own = [](int64_t taps) { return taps == 1 || taps == 3 || taps == 5; };
  if (is_own(shape.r) && is_own(shape.s) && (shape.r == shape.s || one_row || one_column))
    return "the kernel has an algorithm of its own";
  using sum_order::kMostWinogradDilation;
  if (larger(shape.r * shape.dilation_h, shape.s * shape.dilation_w) > 3 * kMostWinogradDilation)
    return "the kernel reaches too far";
  if (parts_of<F>(shape).count() * larger(shape.c, shape.k) * F::kPoints >
      sum_order::kMostPartsValues)
    return "the kernel has too many parts";
  return nullptr;
}

// Why not; null for a dense kernel with the taps and the stride of F.
template <class F, Kernel kKernel = Kernel::kWhole>
const char* not_winograd(const Conv2dShape& shape) {
  constexpr int kRows = F::Down::kTaps, kColumns = F::Across::kTaps;
  if (shape.c == 0 || shape.k == 0) return "no channels";
  if (!shape.n || !shape.h || !shape.w || !shape.p || !shape.q) return "no pixels";
  if (kKernel == Kernel::kParts) {
    if (const char* reason = unfit_for_parts<F>(shape)) return reason;
  } else if (shape.r != kRows || shape.s != kColumns) {
    return other_kernel(kRows, kColumns);
  }
  constexpr int kDown = F::Down::kStride, kAcross = F::Across::kStride;
  if (shape.stride_h != kDown || shape.stride_w != kAcross)
    return kDown * kAcross > 1 ? "the stride is not two" : "there is a stride";
  if (!may_be_dilated<F>() && (shape.dilation_h > 1 || shape.dilation_w > 1))
    return "there is a dilation";
  if (larger(shape.dilation_h, shape.dilation_w) > sum_order::kMostWinogradDilation)
    return "the dilation is too large";
  if (shape.groups != 1) return "there are groups";
  if (shape.dtype == Dtype::kFloat64) return "float64 is summed directly";
  return nullptr;
}

inline bool is_dilated(const Conv2dShape& shape) {
  return shape.dilation_h > 1 || shape.dilation_w > 1;
}

// Tiles of an image with `height` x `width` destinations.
template <class F>
int64_t image_tiles(const Conv2dShape& shape, int64_t height, int64_t width) {
  return TileAxis{height, F::Down::kTile, shape.dilation_h}.count() *
         TileAxis{width, F::Across::kTile, shape.dilation_w}.count();
}

// The products of a pair of channels in an image of `height` x `width` destinations, in per cent of those of direct
// sums, which leave out taps in the padding. Many of them lie there where the dilation is large.
template <class F>
double percent_of_products(const Conv2dShape& shape, int64_t height, int64_t width) {
  const Gather gather = make_gather(Op::kForward, shape);
  const double direct = (double)inner_taps(gather.rows) * (double)inner_taps(gather.columns);
  const int64_t products =
      image_tiles<F>(shape, height, width) * parts_of<F>(shape).count() * F::kPoints;
  return direct > 0 ? 100 * (double)products / direct : 100;
}

// Why kernels of one row or column are summed directly, or null: for `height` x `width` destinations of an image,
// or pixels of grad.
template <class F>
const char* unsuited_one_axis(const Conv2dShape& shape, int64_t height, int64_t width) {
  using namespace sum_order;
  if (shape.dtype == Dtype::kBFloat16) return "direct sums of bfloat16 are faster";
  const bool five = larger(F::Down::kTaps, F::Across::kTaps) == 5;
  if (smaller(shape.c, shape.k) < (five ? kLeastOneAxisChannels5 : kLeastOneAxisChannels3))
    return "few channels are summed directly";
  if (height * width < kLeastOneAxisPixels) return "small maps are summed directly";
  return percent_of_products<F>(shape, height, width) > kMostOneAxisProducts
             ? "too few products are left out"
             : nullptr;
}

// Along each axis the same, with tiles of the other size.
template <class F>
struct OtherParts {
  template <class A>
  using Other = std::conditional_t<A::kTaps == 3, Along<3, 4>,
                                   std::conditional_t<A::kTaps == 4, Along<4, 3>, A>>;
  using Type = Filtering<Other<typename F::Down>, Other<typename F::Across>>;
};

// Why such kernels are summed directly, or with other parts, or null.
template <class F>
const char* unsuited_parts(const Conv2dShape& shape, int64_t height, int64_t width) {
  using namespace sum_order;
  const bool pairs = shape.dtype == Dtype::kBFloat16, one_axis = is_one_axis<F>();
  if (pairs && one_axis) return "direct sums of bfloat16 are faster";
  const int64_t channels = smaller(shape.c, shape.k);
  if (channels < (pairs || one_axis ? kLeastPartsChannelsOfMost : kLeastPartsChannels))
    return "few channels are summed directly";
  if (channels < kManyPartsChannels && height * width < kManyPartsPixels)
    return "few channels of a small map are summed directly";
  const double products = percent_of_products<F>(shape, height, width);
  // A part has whole blocks of source channels.
  const double filled = filled_lanes(channels, block_lanes(shape.dtype));
  const double most = pairs      ? kMostPartsBFloat16Products
                      : one_axis ? kMostPartsOneAxisProducts
                                 : kMostPartsProducts;
  if (products > most * filled) return "too few products are left out";
  const double others = percent_of_products<typename OtherParts<F>::Type>(shape, height, width);
  const bool thirds = larger(F::Down::kTaps, F::Across::kTaps) == 3;
  if (thirds ? others < products : others <= products)
    return "parts of another size leave out more";
  return nullptr;
}

}  // namespace torchconv::cpu

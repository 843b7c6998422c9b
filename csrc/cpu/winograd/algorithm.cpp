// winograd_f4, winograd_f2: forward and input gradient of dense 3 x 3 kernels with a quarter, or 4/9, of the
// products: F(4 x 4, 3 x 3) and F(2 x 2, 3 x 3) of Winograd, in both layouts, float32 and the half types.
// With a dilation the pixels of a tile are that far apart, in the source and in the destination
// (tile_axis.h); all else is the same.
// winograd_5x5: the same of 5 x 5 kernels with 36 % of the products, F(2 x 2, 5 x 5).
// winograd_1x3, winograd_3x1, winograd_1x5, winograd_5x1: kernels of one row or column, with half or 60 % of the
// products. Along their axis a tile has six points as above, along the other one it is one pixel, which F(1, 1)
// leaves as it is.
// winograd_parts_3x3, winograd_parts_1x3 and so on: kernels of other sizes as sums of such kernels, whose channels
// are more source channels (parts.h). winograd_parts_4x4, ... have tiles of three destinations, F(3, 4), which suit
// 4, 7 or 8 taps: of both kinds the one with fewer products.
// winograd_f4_folded, winograd_5x5_folded: the input gradient where padding repeats elements of the input, with as many
// tiles as forward has: of grad, each spread over the input that it sees (store_folded.h).
// winograd_stride2: of 3 x 3 kernels with a stride of two, with 56 % of the products: 9 points along each axis,
// of which five are F(4, 2) and four plain products with one tap (filtering.h).
// winograd_4x4_stride2, winograd_1x3_stride2: of 4 x 4 kernels, 39 %, 10 points of two F(4, 2) along each axis; and
// of kernels of one row, 75 %.
//
//     source                  V [point][tile][c]        M [point][tile][k]         destination
//
//      . . . . . .  . .
//      . a a a a a  a .   B^T     0 | a b c ... |   x U   0 | a b c ... |   A^T      A A A A B B B B
//      . a a a a a  a .  ----->   1 | a b c ... |  ---->  1 | a b c ... |  ----->    A A A A B B B B
//      . a a a a a  a .           : | : : :     |         : | : : :     |            A A A A B B B B
//      . a a a a b* b b          35 | a b c ... |        35 | a b c ... |            A A A A B B B B
//
// A tile of 4 x 4 destinations sees 6 x 6 source elements; tiles overlap by two. B^T d B are the values of
// a tile at 36 points, and there a convolution is a product: a matrix product over channels at each point,
// V of tiles x source channels with U = G w G^T of source x destination channels. A^T m A are the
// destinations. Along both axes: transforms.h.
//
// Channels fill the lanes in every step; contiguous tensors are transposed as they are loaded and stored.
// Jobs take groups of about 50 tiles, in which a weight is used as often. Either stage 0 transforms all
// weights, and a job of stage 1 its own group of tiles, for all destination channels, a block of source channels
// after the other if the sums stay in the L2 cache meanwhile; or, where weights are many or tiles few, stage 0
// transforms the tiles, and a job of stage 1 takes a panel of destination channels of a group and transforms the
// weights as it goes, in the L2 cache. A sum has the same order in all, so the choice may depend on the batch.
//
// Costs: per tile and 16 source channels 144 operations, per tile and 16 destination channels 120, beside
// 36 x 16 for each pair of them; each pixel is read from 2.25 tiles; maps whose sides are no multiples of 4
// are computed as if they were. Sums are rounded otherwise than by direct algorithms: the rms error is
// three to five times theirs (sum_order.h). F(2 x 2, 5 x 5) has the source transforms and the errors of
// F(4 x 4, 3 x 3), but tiles of four destinations, so that a pixel is read from nine. Infinity and NaN reach
// all destinations of their tiles.
#include "cpu/algorithms.h"
#include "cpu/winograd/applies.h"
#include "cpu/winograd/filtering.h"
#include "cpu/winograd/plan.h"

namespace torchconv::cpu {
namespace {

// Why such sums are none of ours, or null.
template <class F, Kernel kKernel = Kernel::kWhole>
const char* refusal(Op op, const Conv2dShape& shape) {
  return op == Op::kGradWeight ? "computes forward and input gradient only"
                               : not_winograd<F, kKernel>(shape);
}

void keep_plan(const Conv2dShape& shape, const Gather& gather, const WinogradPlan& winograd,
               Plan& plan) {
  plan.keep(Planned<WinogradPlan>{gather, winograd});
  plan.stages = 2;
  plan.shared_bytes = winograd.shared_size * compute_bytes(shape.dtype);
  plan.scratch_bytes = winograd_scratch_bytes(winograd, shape.dtype);
  plan.may_replace_residual = shape.layout == Layout::kChannelsLast && !is_half(shape.dtype);
  if (winograd.first == WinogradPlan::First::kWeights) {
    plan.jobs[0] = winograd.panels * winograd.c_block.count;
    plan.jobs[1] = winograd.groups / winograd.image_groups * winograd.panel_shares;
    if (winograd.keeps_weights)
      plan.pack_weights_first({winograd.panels, winograd.width, winograd.c_block.size});
  } else {
    plan.jobs[0] = winograd.repeat_groups * winograd.group_units * winograd.c_chunk.count;
    plan.jobs[1] = winograd.repeat_groups / winograd.image_groups * winograd.panels;
    plan.repeats = ceil_div(winograd.groups, winograd.repeat_groups);
  }
}

template <class F, class GradInput = F, Kernel kKernel = Kernel::kWhole>
const char* make_plan(Op op, const Conv2dShape& shape, Plan& plan) {
  if (const char* reason = refusal<F, kKernel>(op, shape)) return reason;
  const Gather gather = make_gather(op, shape);
  const bool forward = op == Op::kForward;
  keep_plan(shape, gather,
            make_winograd_plan(gather, forward ? F::kDown : GradInput::kDown,
                               forward ? F::kAcross : GradInput::kAcross, shape.dtype,
                               plan.weights_are_kept),
            plan);
  return nullptr;
}

// Of an F(m x m, r x r) whose tiles are spread. Whether it applies may not depend on the batch: the rows that wait are
// bounded here, all else that a job needs is in every plan.
template <class F>
const char* folded_refusal(Op op, const Conv2dShape& shape) {
  if (op != Op::kGradInput) return "computes the input gradient only";
  if (is_dilated(shape)) return "there is a dilation";
  if (const char* reason = not_winograd<F>(shape)) return reason;
  const FoldedImages images(shape, F::kDown, 1);
  const double bytes = (double)images.rows * (double)images.columns * (double)shape.c * 4;
  return bytes > (double)cost::kWaitingBytes ? "rows are too long" : nullptr;
}

template <int m, int r>
const char* make_folded_plan(Op op, const Conv2dShape& shape, Plan& plan) {
  using F = SpreadSquare<m, r>;
  if (const char* reason = folded_refusal<Square<m, r>>(op, shape)) return reason;
  Gather gather = make_gather(op, shape);
  gather.rows = make_axis(true, shape.p, shape.p, r, 1, 0, 1);
  gather.columns = make_axis(true, shape.q, shape.q, r, 1, 0, 1);
  const FoldedImages images(shape, F::kDown, plan.threads);
  keep_plan(shape, gather,
            make_winograd_plan(gather, F::kDown, F::kAcross, shape.dtype, false, &images), plan);
  return nullptr;
}

template <class F>
constexpr sum_order::WinogradMaps maps_of(Dtype dtype) {
  using namespace sum_order;
  if (F::Down::kTaps == 5) return kWinograd5x5Maps;
  if (F::Down::kTile == 2) return kWinograd2Maps;
  return dtype == Dtype::kBFloat16 ? kWinograd4BFloat16Maps : kWinograd4Maps;
}

// Of a dilated layer: sub-images are small, and much of them sees padding, so products are compared.
template <class F>
const char* unsuited_dilated(const Conv2dShape& shape, int64_t height, int64_t width) {
  using namespace sum_order;
  if (F::Down::kTaps == 5) return "a dilated 5 x 5 kernel is summed directly";
  const bool pairs = shape.dtype == Dtype::kBFloat16;
  if (pairs && smaller(shape.c, shape.k) < kLeastDilatedBFloat16Channels)
    return "few channels of a dilated layer are summed directly";
  const double products = percent_of_products<F>(shape, height, width);
  if (products > (pairs ? kMostDilatedBFloat16Products : kMostDilatedProducts))
    return "the dilation leaves too few products out";
  if (F::Down::kTile == 4 && percent_of_products<Square<2, 3>>(shape, height, width) < products)
    return "smaller tiles fit the dilation";
  return nullptr;
}

// Of `height` x `width` destinations.
template <class F>
const char* unsuited_map(const Conv2dShape& shape, int64_t height, int64_t width,
                         const sum_order::WinogradMaps& maps) {
  const int64_t tiles = image_tiles<F>(shape, height, width);
  if (tiles < maps.least_tiles) return "small maps are summed directly";
  const int64_t least_filled = tiles <= maps.few_tiles ? maps.few_filled : maps.least_filled;
  if (100 * height * width < least_filled * tiles * F::Down::kTile * F::Across::kTile)
    return "the map fills its tiles too little";
  return nullptr;
}

// Depends on the shape of an image and the dtype alone: the sums are other ones than those of direct
// algorithms.
template <class F>
const char* unsuited(Op op, const Conv2dShape& shape) {
  using namespace sum_order;
  if (const char* reason = refusal<F>(op, shape)) return reason;
  if (smaller(shape.c, shape.k) < kLeastWinogradChannels) return "few channels are summed directly";
  const int64_t height = op == Op::kForward ? shape.p : shape.h;
  const int64_t width = op == Op::kForward ? shape.q : shape.w;
  if (is_one_axis<F>()) return unsuited_one_axis<F>(shape, height, width);
  if (F::Down::kTile == 2 && shape.dtype == Dtype::kBFloat16)
    return "direct sums of bfloat16 are faster than tiles of 2 x 2";
  if (is_dilated(shape)) return unsuited_dilated<F>(shape, height, width);
  return unsuited_map<F>(shape, height, width, maps_of<F>(shape.dtype));
}

// As forward, which has the same tiles.
template <int m, int r>
const char* unsuited_folded(Op op, const Conv2dShape& shape) {
  if (const char* reason = folded_refusal<Square<m, r>>(op, shape)) return reason;
  if (shape.padding_mode == PaddingMode::kZeros) return "padding repeats nothing";
  return unsuited<Square<m, r>>(Op::kForward, shape);
}

// As unsuited.
template <class F>
const char* unsuited_as_parts(Op op, const Conv2dShape& shape) {
  if (const char* reason = refusal<F, Kernel::kParts>(op, shape)) return reason;
  const bool forward = op == Op::kForward;
  return unsuited_parts<F>(shape, forward ? shape.p : shape.h, forward ? shape.q : shape.w);
}

// As unsuited.
template <class F, class GradInput>
const char* unsuited_strided(Op op, const Conv2dShape& shape) {
  using namespace sum_order;
  if (const char* reason = refusal<F>(op, shape)) return reason;
  if (shape.dtype == Dtype::kBFloat16) return "strided kernels of bfloat16 are summed directly";
  const int64_t channels = smaller(shape.c, shape.k);
  constexpr StridedRule kRule = F::Across::kTaps == 4 ? kStrided4x4
                                : F::Down::kTaps == 1 ? kStrided1x3
                                                      : kStrided3x3;
  if (channels < kRule.least_channels) return "few channels are summed directly";
  const int64_t filled = channels < kRule.many_channels ? kRule.filled : kRule.filled_of_many;
  const WinogradMaps maps = {kRule.least_tiles, filled, 0, 0};
  return op == Op::kForward ? unsuited_map<F>(shape, shape.p, shape.q, maps)
                            : unsuited_map<GradInput>(shape, shape.h, shape.w, maps);
}

template <class F>
Algorithm algorithm_of(const char* name, RunJob Kernels::* kernel, Sums sums = Sums::kF4) {
  return at_each_level(name, kernel, make_plan<F>, sums, unsuited<F>);
}

template <int m, int r>
Algorithm folded_algorithm(const char* name, RunJob Kernels::* kernel) {
  Algorithm algorithm =
      at_each_level(name, kernel, make_folded_plan<m, r>, Sums::kF4, unsuited_folded<m, r>);
  algorithm.folds_padding = true;
  return algorithm;
}

template <class F, class GradInput>
Algorithm strided_algorithm(const char* name, RunJob Kernels::* kernel) {
  return at_each_level(name, kernel, make_plan<F, GradInput>, Sums::kF4,
                       unsuited_strided<F, GradInput>);
}

template <class F>
Algorithm parts_of_kernel(const char* name, RunJob Kernels::* kernel) {
  return at_each_level(name, kernel, make_plan<F, F, Kernel::kParts>, Sums::kF4,
                       unsuited_as_parts<F>);
}

}  // namespace

const Algorithm kWinograd4 = algorithm_of<Square<4, 3>>("winograd_f4", &Kernels::winograd4);
const Algorithm kWinograd2 =
    algorithm_of<Square<2, 3>>("winograd_f2", &Kernels::winograd2, Sums::kF2);
const Algorithm kWinograd5x5 = algorithm_of<Square<2, 5>>("winograd_5x5", &Kernels::winograd5x5);
const Algorithm kWinograd1x3 = algorithm_of<Row<4, 3>>("winograd_1x3", &Kernels::winograd1x3);
const Algorithm kWinograd3x1 = algorithm_of<Column<4, 3>>("winograd_3x1", &Kernels::winograd3x1);
const Algorithm kWinograd1x5 = algorithm_of<Row<2, 5>>("winograd_1x5", &Kernels::winograd1x5);
const Algorithm kWinograd5x1 = algorithm_of<Column<2, 5>>("winograd_5x1", &Kernels::winograd5x1);

const Algorithm kWinograd4Folded =
    folded_algorithm<4, 3>("winograd_f4_folded", &Kernels::winograd4_folded);
const Algorithm kWinograd5x5Folded =
    folded_algorithm<2, 5>("winograd_5x5_folded", &Kernels::winograd5x5_folded);

const Algorithm kWinogradParts3x3 =
    parts_of_kernel<Square<4, 3>>("winograd_parts_3x3", &Kernels::winograd4);
const Algorithm kWinogradParts1x3 =
    parts_of_kernel<Row<4, 3>>("winograd_parts_1x3", &Kernels::winograd1x3);
const Algorithm kWinogradParts3x1 =
    parts_of_kernel<Column<4, 3>>("winograd_parts_3x1", &Kernels::winograd3x1);
const Algorithm kWinogradParts4x4 =
    parts_of_kernel<Square<3, 4>>("winograd_parts_4x4", &Kernels::winograd4x4);
const Algorithm kWinogradParts1x4 =
    parts_of_kernel<Row<3, 4>>("winograd_parts_1x4", &Kernels::winograd1x4);
const Algorithm kWinogradParts4x1 =
    parts_of_kernel<Column<3, 4>>("winograd_parts_4x1", &Kernels::winograd4x1);

const Algorithm kWinogradStride2 = strided_algorithm<StrideTwo<3>, StrideTwoGradInput<3>>(
    "winograd_stride2", &Kernels::winograd_stride2);
const Algorithm kWinograd4x4Stride2 = strided_algorithm<StrideTwo<4>, StrideTwoGradInput<4>>(
    "winograd_4x4_stride2", &Kernels::winograd4x4_stride2);
const Algorithm kWinograd1x3Stride2 = strided_algorithm<RowStrideTwo, RowStrideTwoGradInput>(
    "winograd_1x3_stride2", &Kernels::winograd1x3_stride2);

}  // namespace torchconv::cpu

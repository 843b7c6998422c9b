// winograd_grad_weight: the weight gradient of dense 3x3 layers with stride 1, by Winograd's algorithm;
// winograd_5x5_grad_weight: of 5x5 layers, with tiles of 2x2 pixels of grad. A dilation parts the pixels of a
// tile (winograd/tile_axis.h). winograd_1x3_grad_weight and so on, of kernels of one row or column: tiles of four or
// two pixels along it, at six points. winograd_parts_3x3_grad_weight and so on: the taps of other kernels, in parts of 3x3
// or 4x4 that see the input shifted (winograd/parts.h); each part is some blocks of the result.
//
//      grad          input                   values at 36 points
//      . . . .       . . . . . .     each tile of    of grad      of the input
//      . 4x4 .       . 6 x 6   .      both, for      | g0 g1 ... |     | x0 x1 ... |
//      . . . .       .         .     each channel    | g0 g1 ... |     | x0 x1 ... |   sum over tiles
//      . . . .       .         .       ------->        :                 :           ------------>
//                    .         .                     at each point: [tiles][k] x [tiles][c]
//                    . . . . . .
//                                        products [36][c][k]  ------->  weight [c][k] of 3x3 taps
//
// Both operands are cut into tiles and each tile is replaced by its values at 36 points (transforms.h).
// There, 36 matrix products over the tiles take the place of 9 over the pixels: a quarter of the
// multiply-adds, since a tile has 16 pixels. A job takes one block of the result, some channels of both x all
// taps, over a chunk of the samples, or over all of them. It goes over the tiles in passes: a pass loads and
// transforms the tiles of both operands and adds their products to those of the block, which lie in the L2
// cache. At the end the products are transformed back to taps. Stage 1 adds the chunks in the order of the
// samples (common/ordered_sum.h). Operands of many blocks and few tiles are transformed by stage 0, once for
// all, and stage 1 multiplies them; the sums are the same.
//
// Costs: both operands are loaded and transformed once, or once for every block of the other's channels;
// products of a block are read and written once for each pass. Tiles that stick out of the image are computed whole. The
// rounding errors are two to four times those of a direct sum.
#include "cpu/algorithms.h"
#include "cpu/winograd/applies.h"
#include "cpu/winograd_grad_weight/plan.h"

namespace torchconv::cpu {
namespace {

// Why such sums are none of ours, or null.
template <class F, Kernel kKernel = Kernel::kWhole>
const char* refusal(Op op, const Conv2dShape& shape) {
  return op == Op::kGradWeight ? not_winograd<F, kKernel>(shape)
                               : "computes the weight gradient only";
}

template <class F, Kernel kKernel = Kernel::kWhole>
const char* make_plan(Op op, const Conv2dShape& shape, Plan& plan) {
  if (const char* reason = refusal<F, kKernel>(op, shape)) return reason;
  const WinogradGradWeightPlan made = make_winograd_grad_weight_plan(shape, F::kDown, F::kAcross);
  plan.keep(made);
  plan.scratch_bytes = made.scratch_bytes();
  made.chunks.plan_waves(shape.n, made.blocks,
                         made.blocks * made.block_size() * (int64_t)sizeof(float), plan);
  if (made.operands == WinogradGradWeightPlan::Operands::kShared) {
    plan.stages = 2;
    plan.jobs[0] = made.passes * (made.input_blocks() + made.grad.cut.count);
    plan.jobs[1] = made.blocks;
    plan.shared_bytes = made.shared_bytes();
  }
  return nullptr;
}

// Depends on the shape of an image alone: the sums are other ones than those of direct algorithms.
template <class F>
const char* unsuited(Op op, const Conv2dShape& shape) {
  using namespace sum_order;
  if (const char* reason = refusal<F>(op, shape)) return reason;
  if (smaller(shape.c, shape.k) < kLeastWinogradChannels) return "few channels are summed directly";
  if (is_one_axis<F>()) return unsuited_one_axis<F>(shape, shape.p, shape.q);
  constexpr int64_t kLeast = F::Down::kTaps == 5 ? kWinograd5x5LeastPixels : kWinogradLeastPixels;
  if (shape.p * shape.q < kLeast) return "small maps are summed directly";
  if (is_dilated(shape)) {
    if (F::Down::kTaps == 5) return "a dilated 5 x 5 kernel is summed directly";
    const double most =
        shape.dtype == Dtype::kBFloat16 ? kMostDilatedBFloat16GradProducts : kMostDilatedProducts;
    return percent_of_products<F>(shape, shape.p, shape.q) > most
               ? "the dilation leaves too few products out"
               : nullptr;
  }
  if (filled_lanes(shape.p, F::Down::kTile) * filled_lanes(shape.q, F::Across::kTile) <
      kWinogradFilled)
    return "the map fills its tiles too little";
  return nullptr;
}

// As unsuited.
template <class F>
const char* unsuited_as_parts(Op op, const Conv2dShape& shape) {
  if (const char* reason = refusal<F, Kernel::kParts>(op, shape)) return reason;
  if (shape.p * shape.q < sum_order::kLeastPartsGradPixels) return "small maps are summed directly";
  if (is_one_axis<F>() && shape.layout == Layout::kContiguous)
    return "contiguous kernels of one row or column are summed directly";
  return unsuited_parts<F>(shape, shape.p, shape.q);
}

template <class F>
Algorithm algorithm_of(const char* name, RunJob Kernels::* kernel) {
  return at_each_level(name, kernel, make_plan<F>, Sums::kF4, unsuited<F>);
}

template <class F>
Algorithm parts_of_kernel(const char* name, RunJob Kernels::* kernel) {
  return at_each_level(name, kernel, make_plan<F, Kernel::kParts>, Sums::kF4, unsuited_as_parts<F>);
}

}  // namespace

const Algorithm kWinogradGradWeight =
    algorithm_of<Square<4, 3>>("winograd_grad_weight", &Kernels::winograd_grad_weight);
const Algorithm kWinograd5x5GradWeight =
    algorithm_of<Square<2, 5>>("winograd_5x5_grad_weight", &Kernels::winograd5x5_grad_weight);
const Algorithm kWinograd1x3GradWeight =
    algorithm_of<Row<4, 3>>("winograd_1x3_grad_weight", &Kernels::winograd1x3_grad_weight);
const Algorithm kWinograd3x1GradWeight =
    algorithm_of<Column<4, 3>>("winograd_3x1_grad_weight", &Kernels::winograd3x1_grad_weight);
const Algorithm kWinograd1x5GradWeight =
    algorithm_of<Row<2, 5>>("winograd_1x5_grad_weight", &Kernels::winograd1x5_grad_weight);
const Algorithm kWinograd5x1GradWeight =
    algorithm_of<Column<2, 5>>("winograd_5x1_grad_weight", &Kernels::winograd5x1_grad_weight);
const Algorithm kWinogradParts3x3GradWeight =
    parts_of_kernel<Square<4, 3>>("winograd_parts_3x3_grad_weight", &Kernels::winograd_grad_weight);
const Algorithm kWinogradParts1x3GradWeight =
    parts_of_kernel<Row<4, 3>>("winograd_parts_1x3_grad_weight", &Kernels::winograd1x3_grad_weight);
const Algorithm kWinogradParts3x1GradWeight = parts_of_kernel<Column<4, 3>>(
    "winograd_parts_3x1_grad_weight", &Kernels::winograd3x1_grad_weight);
const Algorithm kWinogradParts4x4GradWeight = parts_of_kernel<Square<3, 4>>(
    "winograd_parts_4x4_grad_weight", &Kernels::winograd4x4_grad_weight);
const Algorithm kWinogradParts1x4GradWeight =
    parts_of_kernel<Row<3, 4>>("winograd_parts_1x4_grad_weight", &Kernels::winograd1x4_grad_weight);
const Algorithm kWinogradParts4x1GradWeight = parts_of_kernel<Column<3, 4>>(
    "winograd_parts_4x1_grad_weight", &Kernels::winograd4x1_grad_weight);

}  // namespace torchconv::cpu

// The numbers that decide in which order a sum is formed. A number here changes results: it is
// changed only with an entry in CHANGELOG.md and new bits in tests/kernels/stored_results.txt.
// Numbers that do not are in cost_model.h.
//
// Every algorithm forms the sums of forward and input gradient in the order of SumOrder, so how they cut
// a layer is free. The gradients of weight and bias are sums over images and pixels, whose
// parts are those of the jobs that form them: there the cut itself is the order.
#pragma once

#include "cpu/common/arithmetic.h"
#include "cpu/plan.h"

namespace torchconv::cpu {
namespace sum_order {

// Forward and input gradient: up to so many channels are summed plane by plane, else channels come in
// equal blocks of at most kLargestBlock channels. About kPartialSteps products are one chain, a partial
// sum: of 4,608 products of normal numbers the rms error is 1.2e-6 in one chain, 4.4e-7 in chains of
// 576, 3.1e-7 of 288, 2.4e-7 of 144, 2.1e-7 of 64, and each costs a load, an addition and a store.
constexpr int64_t kPlaneByPlane = 3;
constexpr int64_t kLargestBlock = 32;
constexpr int64_t kPartialSteps = 144;

// winograd: so many source channels are summed in one chain, and these partial sums are added up. Of
// 512 channels the rms error is 8e-7 of the rms result, of one chain of them 2e-6.
constexpr int64_t kWinogradChannels = 64;
// F(4 x 4, 3 x 3), F(2 x 2, 3 x 3) or direct sums (2 to 512 channels, maps of 2 x 2 to 56 x 56, 1 to 32
// images, Sapphire Rapids). With 16 channels on both sides the first is 1.3 to 2 times as fast as direct
// sums, with 12 between 0.98 and 1.4 times, with 8 half as fast. 5 x 5 maps fill 39 % of their tiles and
// lose (0.8), 6 x 6 fill 56 % (1.2), 13 x 13 66 % (1.2 to 1.5), 7 x 7 77 % (1.3 to 1.5, one image 1.0 to
// 1.3). One tile, 4 x 4, wins with 32 images and loses with one. The second is 0.7 to 0.9 times as fast as
// the first, but 1.2 times at 6 x 6; at 5 x 5 and 7 x 7, where it fills 69 and 77 % of its tiles, it is no
// faster than direct sums. Of bfloat16 direct sums have twice the speed where the CPU multiplies pairs
// (Zen 4, kept weights): there the first takes 1.6 to 1.9 times as long at 7 x 7 with one image, 1.1 times
// with eight, and 0.8 times at 8 x 8 with eight; at 13 x 13 1.06 to 1.24 times with one image, 0.85 to 1.2 times
// with eight or more, at 10 x 10, 11 x 11 and 17 x 17 0.94 to 1.28 and 0.75 to 1.02, at 12 x 12 0.6 to 0.92, at
// 28 x 28 0.62 to 0.82. The second takes 1.1 to 1.7 times as long (6 x 6 to 28 x 28, one image or 16) and computes
// none of bfloat16. CPUs that do not lose up to 1.8 times at 7 x 7 with eight images, nothing with one; at 13 x 13
// 1.4 to 1.8 times with one, 2.1 times with 16.
constexpr int64_t kLeastWinogradChannels = 16;
// Dilated maps fall into as many small ones as the dilations multiply to. There products are counted, and
// compared with those of direct sums, which leave out taps in the padding: with 36 % of them the first takes
// 0.4 to 0.75 of the time, with 56 % 0.7, with 69 % 0.75 to 0.83, with 85 to 92 % the same (64 to 512 channels,
// 12 x 12 to 64 x 64, one image, Zen 4). Of bfloat16, with 32 to 35 % 0.75 to 0.83, with 36 % and 64 channels
// 0.95, with 16 or 32 channels 1.3, with 40 % 1 to 1.15; the weight gradient with 36 to 40 % 0.7 to 1.
constexpr double kMostDilatedProducts = 70, kMostDilatedBFloat16Products = 37,
                 kMostDilatedBFloat16GradProducts = 41;
constexpr int64_t kLeastDilatedBFloat16Channels = 64;
// Further apart, the columns that a row of tiles sees may exceed what a job can load.
constexpr int64_t kMostWinogradDilation = 256;
struct WinogradMaps {
  int64_t least_tiles, least_filled;  // tiles of an image; per cent of them that are destinations
  int64_t few_tiles, few_filled;      // up to so many have to be filled so far
};
constexpr WinogradMaps kWinograd4Maps = {4, 62, 0, 0}, kWinograd4BFloat16Maps = {4, 68, 8, 90};
constexpr WinogradMaps kWinograd2Maps = {9, 80, 0, 0};
// F(2 x 2, 5 x 5), which has no rival but direct sums (16 to 256 channels, maps of 3 x 3 to 28 x 28, 1 to 32
// images, Zen 4): 1.05 to 2.2 times as fast from 6 x 6 on, but for 16 channels on both sides up to 13 x 13 with
// 32 images (0.86 to 1.1). 5 x 5 maps fill 69 % of their tiles and lose (0.9 to 1.05). Of bfloat16, where the
// CPU multiplies pairs, it is 0.75 to 1.2 times as fast: those are summed directly.
constexpr WinogradMaps kWinograd5x5Maps = {9, 70, 0, 0};
// Kernels of one row or column, F(4, 3) and F(2, 5), in all directions; products are counted as those of dilated
// layers (16 to 512 channels, 4 to 4,096 pixels in a row and maps of 14 x 14 to 56 x 56, 1 to 16 images, Zen 4).
// With three taps and 64 channels or more they take 0.45 to 0.75 of the time of direct sums, of few pixels 0.7 to
// 1.1, with 48 channels 0.7 to 0.94, with 32 0.8 to 1, with 24 up to 1.5; rows of 9, 72 % of the products, 0.5
// to 1.05, rows of 5, 92 %, 0.9 to 1.1. With five taps and 64 channels 0.75 to 1.15, with more 0.5 to 0.8, with 32
// 0.9 to 1.2. Of bfloat16, where the CPU multiplies pairs, 1 to 1.6, of many channels in the weight gradient 0.3 to 1.2.
constexpr double kMostOneAxisProducts = 70;
constexpr int64_t kLeastOneAxisPixels = 8;
constexpr int64_t kLeastOneAxisChannels3 = 32, kLeastOneAxisChannels5 = 64;
// Other kernels as sums of 3 x 3 or 4 x 4 ones, F(4, 3) and F(3, 4), in all directions; products are counted as those
// of dilated layers (16 to 512 channels, 2 x 2 to 15 x 3 taps, maps of 7 x 7 to 56 x 56, 1 to 8 images, Zen 4): with
// 25 to 37 % of them 1.5 to 2.6 times as fast as direct sums, with 42 to 49 % 1.3 to 2.1, with 55 to 68 % 0.95 to 1.7,
// with 73 % 0.8 to 1.3; with 16 channels on both sides 1.2 to 1.5 times, one small image 0.8 to 1. Along one axis, with
// 50 to 60 %, 1.15 to 1.6 times from 64 channels on, with 67 % 0.95 to 1.25, with 32 channels 0.9 to 1.15, with 16 or
// 24 0.6 to 0.9; the weight gradient of contiguous ones, which stores a few taps at a time, 0.4 to 1.25 times. That
// of one image needs 11 x 11 pixels to win: with 8 x 8 it takes 1.3 to 2.8 times as long. Of bfloat16, where the CPU
// multiplies pairs, with 29 to 32 % 1.2 to 1.5 times as fast, with 42 to 49 % 0.8 to 1, along one axis 0.65 to 0.85.
constexpr double kMostPartsProducts = 68, kMostPartsOneAxisProducts = 61,
                 kMostPartsBFloat16Products = 35;
constexpr int64_t kLeastPartsChannels = 16, kLeastPartsChannelsOfMost = 64;
constexpr int64_t kManyPartsChannels = 32, kManyPartsPixels = 400;  // one of them, at least
constexpr int64_t kLeastPartsGradPixels = 120;
// Values at the points of the channels of all parts of a tile; more would leave room for few tiles.
constexpr int64_t kMostPartsValues = 36 * 8192;
// Strided algorithms against direct sums (16 to 512 channels, maps of 8 x 8 to 64 x 64, one image and 8, Zen 4).
// 3 x 3: with full tiles and 64 channels or more forward is 1 to 1.35 times as fast and the input gradient 0.95 to
// 1.35 times, with 16 or 32 channels 0.7 to 1.1. Maps of 7 x 7 and 14 x 14, or 14 x 14 and 28 x 28 inputs, fill 77 %
// of their tiles: 1 to 1.25 and 0.95 to 1.3 times with 256 channels, 0.8 to 1.2 with 128, 0.6 to 1.3 with 64. Less
// filled ones lose. A single tile wins with 8 images and loses with one.
// 4 x 4: with 64 channels or more and full tiles 1.05 to 2.1 times, where one image has four tiles 0.85 to 1.1; filled
// to 77 % 1 to 1.25, less 0.5 to 1; with 32 channels 1.05 to 1.6 on large maps and 0.5 to 1.2 on small ones, with fewer
// 0.6 to 0.95. 1 x 3: with 256 channels or more 1 to 1.6, with 128 1.05 to 1.25, with 64 0.8 to 0.95; of 30 outputs
// 0.95 to 1.05. bfloat16, whose pairs have twice the rate, is summed directly.
struct StridedRule {
  int64_t least_channels, many_channels, least_tiles;
  int64_t filled, filled_of_many;  // per cent
};
constexpr StridedRule kStrided3x3 = {64, 256, 4, 90, 75};
constexpr StridedRule kStrided4x4 = {64, 64, 4, 75, 75};
constexpr StridedRule kStrided1x3 = {128, 128, 12, 90, 90};

// grad_weight: the sums of one block of the result, and the pass over pixels whose operands are
// loaded at once.
constexpr int64_t kResultBlockBytes = 192 << 10;
constexpr int64_t kPassPixels = 400;
constexpr int64_t kPassBytes = 384 << 10;
// A copied pixel of the operand in the lanes takes a multiple of so many blocks of lanes.
constexpr int64_t kPitchBlocks = 3;
// Taps that do not overlap are unfolded where so many elements or more follow each other.
constexpr int64_t kLeastUnfoldedSpan = 4;
// Tap rows further apart than so many kernel rows are loaded each on its own.
constexpr int64_t kTapRowsApart = 4;
// Pixels that far apart, or a multiple of it, meet so few sets of a cache that they are copied.
constexpr int64_t kFewSets = 512;  // bytes
// Summed in registers, then added to the block: 14 x 14 pixels in one group. In channels_last each
// pixel of the broadcast operand is a cache line of its own.
constexpr int64_t kSumPixels = 200;
constexpr int64_t kSumPixelsChannelsLast = 96;
// Fewer blocks of the result than this, and the batch is summed in chunks of images, or of parts of
// an image, each of so many multiply-adds of a job.
constexpr int64_t kBlocksWanted = 16;
constexpr double kChunkWork = 2e6;
constexpr int64_t kMostChunkImages = 64;
// Sums that leave the caches between stages are written once for so many pixels at least.
constexpr int64_t kSumsKept = 400 << 10;  // bytes
constexpr int64_t kChunkPixels = 96;

// winograd_grad_weight: tiles that are summed in registers, then added to the products at the points; tiles
// of a chunk.
constexpr int64_t kWinogradPassTiles = 32;
constexpr int64_t kWinogradChunkTiles = 96;
// Channels of both operands in a block of the result; its products at the points and a pass of both operands
// take 1.2 MB, which an L2 cache holds. Larger blocks, whose operands would be transformed less often, were
// no faster. How many blocks there are decides the chunks.
constexpr int64_t kWinogradBlock = 64;
// Against grad_weight it wins where the channels repay the transforms, the tiles are filled and an image
// has so many pixels of grad: 1.2 to 2.7 times from 16 images on. A single image needs 12 x 12 pixels to
// win; on 7 x 7 it takes 1.2 to 1.9 times as long, which the batch must not decide.
constexpr int64_t kWinogradLeastPixels = 49;
constexpr double kWinogradFilled = 0.6;
// 5 x 5 kernels win from 6 x 6 on: 1.03 to 2 times, with one image, too, and in bfloat16 0.83 to 2.2 times where
// the CPU multiplies pairs (Zen 4).
constexpr int64_t kWinograd5x5LeastPixels = 36;

// depthwise_grad_weight: a part of an image's rows is summed in registers. It stays in the L1 cache,
// with channels in the lanes in the L2 cache; a large kernel, whose rows few parts would load again
// and again, takes more.
constexpr int64_t kPlanePartBytes = 24 << 10;
constexpr int64_t kChannelPartBytes = 192 << 10;
constexpr int64_t kLargestPartBytes = 768 << 10;
constexpr int64_t kLeastPartRows = 4;
// With channels in the lanes a lane has every product: chains of about so many are summed in registers, then
// added up. Windows keep the whole rows of a part: shorter ones took up to half as long again.
constexpr int64_t kChainPixels = 400;
constexpr int64_t kShortRow = 32;             // up to here rows are transposed to channels
constexpr double kDepthwiseChunkWork = 1e6;   // multiply-adds of a chunk
constexpr double kDepthwiseBlockWork = 20e3;  // multiply-adds of a job in one image, at least
constexpr double kPartOfBlock = 2,
                 kPartOfBlocks = 0.5;  // such chunks in a part: of one block, of several

// Whether depthwise layers have pixels or channels in the lanes: each lane is a chain of its own in
// the weight gradient. Forward and input gradient choose with the same numbers, where they are free.
// Fewer channels than these would leave most lanes empty in channels_last.
constexpr int64_t kFewChannelsLast = 4;
// A transposed map repays where it fills so many times as many lanes; with stride two, whose columns
// would have to be taken apart in a plane, where it fills this part of them.
constexpr double kFilledByTransposing = 1.6;
constexpr double kFilledWithStride = 0.7;

// grad_bias, contiguous: element i of a plane goes to running sum i modulo kPlaneSums blocks of
// lanes, kPlaneRounds times before these are added to the total.
constexpr int64_t kPlaneSums = 4;
constexpr int64_t kPlaneRounds = 64;
// grad_bias, channels_last: chunks of pixels; with few channels several pixels are one row of sums.
constexpr int64_t kBiasChunkElements = 64 << 10;
constexpr int64_t kBiasChunkPixels = 512;  // at least: the chunks' sums are a small part of grad
constexpr int64_t kBiasFewChannels = 64;

}  // namespace sum_order

// How the sums of forward and input gradient are formed. Source channels come in blocks of c_block, and
// in a block r, s, c. Taps that only see padding are then runs of steps to be left out.
struct SumOrder {
  int64_t channels;  // source channels of a group
  int64_t c_block;
  // A kernel that covers its image is summed as the pointwise layer over the same memory (simplify.h):
  // channel by channel, and the products of all taps are counted as channels are elsewhere.
  bool one_pixel, by_products;
  int64_t step_channels = 1;  // two where a step of a kernel is a pair (simd/pairs.h)
  int64_t lone = 0;           // one where the last pair of a block is a single channel

  SumOrder() = default;
  SumOrder(Op op, const Conv2dShape& shape) {
    using namespace sum_order;
    channels = op == Op::kForward ? shape.c_per_group() : shape.k_per_group();
    one_pixel = covers_image(shape) && shape.c_per_group() > kPlaneByPlane;
    by_products = one_pixel && op == Op::kForward;
    c_block = 1;
    if (channels <= kPlaneByPlane || covers_image(shape)) return;
    c_block =
        smaller(smaller(channels, kLargestBlock), larger(1, kPartialSteps / (shape.r * shape.s)));
    // Pairs of bfloat16 channels are not parted.
    const bool even = shape.dtype == Dtype::kBFloat16 && channels % 2 == 0;
    while (channels % c_block || (even && c_block % 2 && c_block > 1)) --c_block;
  }

  // Whether two steps that follow each other are always two channels of one block.
  bool comes_in_pairs() const { return c_block % 2 == 0; }

  // The same order of sums with a pair of channels for every two; of an odd block the last one is a pair with nothing.
  SumOrder in_pairs() const {
    SumOrder pairs = *this;
    pairs.lone = c_block % 2, pairs.step_channels = 2;
    pairs.c_block = ceil_div(c_block, 2);
    pairs.channels = channels / c_block * pairs.c_block;
    return pairs;
  }

  // Of a block, single ones.
  int64_t block_channels() const { return c_block * step_channels - lone; }
  // The first of the single ones that a step multiplies.
  int64_t single(int64_t channel) const {
    return channel / c_block * block_channels() + channel % c_block * step_channels;
  }
  bool is_lone(int64_t channel) const { return lone && channel % c_block == c_block - 1; }

  // The blocks, or the products, of one partial sum where each channel has `taps` taps: a power of two,
  // so that all phases of an input gradient with a stride end theirs together.
  int64_t partial(int64_t taps) const {
    using namespace sum_order;
    if (by_products) return power_of_two_up_to(kPartialSteps);
    if (channels * step_channels <= kPlaneByPlane || taps == 0) return channels;
    return power_of_two_up_to(kPartialSteps / (block_channels() * (one_pixel ? 1 : taps)));
  }
};

}  // namespace torchconv::cpu

// The numbers that decide how a layer is cut and which algorithm takes it, without changing a
// result: all algorithms give the same bits. So they may be changed freely, given a measurement, and
// may depend on the ISA level, the caches, the threads and the batch; so far the jobs of dense_channels
// and pointwise depend on the threads. Numbers that change results are in sum_order.h.
//
// Measured on Zen 3 (AVX2, 32 KB of L1, 512 KB of L2 cache, 2 threads) unless a line says otherwise.
// "Work" is multiply-adds.
#pragma once

#include <cstdint>

namespace torchconv::cpu::cost {

// A call below this work stays on its own thread: waking another costs more.
constexpr double kSerialWork = 250e3;
// What an element costs that is only added up, in multiply-adds.
constexpr double kSumWork = 4;

// Results from this size on, which glibc maps anew for every call, in huge pages.
constexpr int64_t kMappedAnew = 32 << 20;  // bytes

// Results from this size on are stored past the caches. With AVX2 1x1 layers and stems of 6 to 24 MB take 0.6 to 0.8 of
// the time, and 0.7 to 0.9 with a ReLU or batch norm after them, which then finds nothing in a cache; 4 MB take 0.72 and
// 1.05. Depthwise layers of 10 to 29 MB take 0.45 to 0.85, with a ReLU 0.5 to 0.93; 7 MB 0.6 to 1.07 and 1.05 to 1.4
// (Zen 3, a busy L3 cache). With AVX-512 1x1 layers of 2 to 13 MB take 0.75 to 1.1 of the time and, with a ReLU after
// them, 0.94 to 1.3, a depthwise layer of 7 MB 1 to 1.35 and 1.36 to 1.6, larger results the same either way (Sapphire
// Rapids).
constexpr int64_t kStreamedBytes = 16 << 20;
constexpr int64_t kStreamedBytesAvx2 = 6 << 20, kStreamedDepthwiseBytesAvx2 = 8 << 20;

// Of any algorithm: scratch bytes of a thread; jobs of one image, so that it feeds several threads.
constexpr int64_t kScratchLimit = 16 << 20;
constexpr int64_t kJobsPerImage = 8;
// Bytes of weights that are packed at once, above which those to come are fetched ahead: on a Xeon, 64
// channels of 3x3 repay it, and 8 of a group would take up to a quarter longer.
constexpr int64_t kFarWeights = 32 << 10;

// Pointwise layers have no rows: small images become one row, so that tiles do not end with it, and
// larger ones in channels_last rows of a length in between that leave few pixels to a last tile.
constexpr int64_t kOneRow = 512;
constexpr int64_t kShortestRow = 64, kLongestRow = 128;

// Sums of a job that wait for its next channels: 4 MB take a fifth longer than four jobs of 1 MB (Zen 4).
constexpr int64_t kKeptSums = 1 << 20;  // bytes

// dense_channels
// Threads share the pixels of a few images where each may read so many bytes of weights, and has so many pixels:
// a network of 1x1 and depthwise layers takes 0.91 of the time (MobileNetV2, two threads, Zen 4).
constexpr int64_t kWeightsOfEach = 1 << 20, kLeastShare = 16;
// Steps of one pass over a slab of weights, which stays in the L2 cache: 800 x 16 floats, what AVX2
// takes at once, or 800 x 48 or 64 of AVX-512. Fewer cost more passes over the sums than a slab in the
// L1 cache saves: 150 or 300 steps take 0.92 to 1.17 of the time (Sapphire Rapids).
constexpr int64_t kChunkDepth = 800;
// Steps that follow each other in the source, from which on a tile of one vector goes from run to run: 16 take 0.7 to
// 0.96 of the time, 8 0.83 to 1.18, 4 0.92 to 1.3 (Sapphire Rapids).
constexpr int64_t kLeastRun = 16;
constexpr int64_t kPieceBlocks = 3;  // of lanes; an image has no more pieces than parts of so many
constexpr int64_t kJobPixels = 512;  // enough reuse of a panel of weights
// Up to so many channels of the contiguous layout are read as planes: patches of 14 x 14 and 16 x 16 take 0.6
// to 0.7 of the time, 7 x 7 to 11 x 11 with stride 0.87 to 0.92, 3 x 3 the same (Sapphire Rapids); with 12 or
// 16 channels 1.04 to 1.08.
constexpr int64_t kPlanarChannels = 3;
constexpr int64_t kMostJobImages = 16;
constexpr int64_t kPatchBytes = 384 << 10;  // of the source, loaded at once
// From this size on, a job that is alone with its weights packs each part of them just before it is used: they
// need not stay in a cache from one stage to the next. 26 MB for two 3 x 3 images take 0.2 to 0.4 of the time (Zen 4).
// Others are fetched a slab ahead: 256 channels at 33 x 33, dilation 12 and 18, take 0.93 to 1 of the time.
constexpr int64_t kPackedKept = 1 << 20;  // bytes
// A larger image of channels_last is copied part by part of its channels: its lines come one by one where they are
// read in place. 288 -> 48 channels at 35 x 35, 3 x 3 with stride 2: 0.75 of the time (Zen 4).
constexpr int64_t kImageKept = 1 << 20;  // bytes
// Images larger than that together, read in place, are fetched a row ahead of tiles with so many steps: 2 x 2 kernels
// with stride 2 take 0.8 to 0.9 of the time, 1 x 1 0.86 to 1, of 8 channels 1.02 (Zen 4).
constexpr int64_t kFetchingSteps = 32;
constexpr int64_t kTapRowsApart = 4;  // further apart, tap rows are loaded each on its own
// So many bytes of them: with 384 KB a job has four rows in the place of eight. 2048 -> 256 channels at 33 x 33,
// dilation 12 and 18: 0.9 to 0.97 of the time, 512 channels 0.9 to 1 (Zen 4).
constexpr int64_t kSectionsBytes = 768 << 10;
constexpr int64_t kTileImages = 4;  // fewer do not hide the latency of a multiply-add
// Pixels that leave out their own padding: layers with a dilation at 10 x 10 take 0.83 to 0.87 of the time of six, at
// 33 x 33 0.9 to 1; with three 5 x 5 kernels at 7 x 7 took 1.08 to 1.12 of that of four (Zen 4).
constexpr int64_t kShortestRowPart = 4;
// Groups of channels_last that fill less than a block of lanes are loaded together, so many bytes of a pixel: pairs
// of 16 channels take 0.83 to 0.95 of the time, 64 and 256 bytes as long (Zen 4). Each thread keeps so many jobs.
constexpr int64_t kLoadedTogether = 128;
constexpr int64_t kJobsPerThread = 8;
// Sums of rows of a contiguous result that are transposed together: 14 x 14 pixels take 0.73 to 0.92 of the time
// that they take row by row, 7 x 7 and 28 x 28 0.92 to 1 (Zen 4).
constexpr int64_t kStoredTogether = 32 << 10;  // bytes
// Such rows are finished one after the other: tiles that run down all of them write each to another page.
// 1x1, 24 -> 144 channels at 56x56: 0.85 of the time in float32, 0.89 in bfloat16 (Zen 4).
constexpr int64_t kLongRowPart = 24;

// dense_pixels, against dense_channels, which leaves out empty halves of a block (28x28, 2 to 56
// output channels, 16 to 256 inputs): pixels in the lanes win where the output channels fill less of
// the lanes than this (1.05 to 2.5 times faster), pointwise layers in channels_last only below half,
// for they are read and written in place by the other.
constexpr int64_t kFilledPercent = 76, kFilledPercentOfSeveral = 66;  // blocks
// Pixels of channels_last would have to be taken apart for a stride: 12 channels take 0.65 to 1.03 times as long
// with channels in the lanes, 20 0.65 to 1, 10 0.8 to 1.2 (3x3, 8 to 96 inputs, Zen 4).
constexpr int64_t kFilledPercentWithStride = 70, kFilledPercentOfSeveralWithStride = 60;
constexpr int64_t kFilledPercentPointwise = 70, kFilledPercentInPlace = 50;
// In contiguous layout pixels win, too, where the sums are so short that dense_channels mostly
// transposes: pointwise layers (1.05 to 1.4 times) and at most 64 steps, 160 where rows are summed in
// the result (up to 1.2 times). Elsewhere they lose 5 to 30 %.
constexpr int64_t kFewSteps = 64, kFewStepsOfLongRows = 160;
// Against pairs of taps in dense_channels, in contiguous layout: there a step is a pair, loading a channel
// costs about two steps of all lanes and storing one, and 100 of them take the time of 113 taps. In
// channels_last pixels win with 6 of 16 lanes filled (up to 1.07 times) and lose with 8 (0.74 to 0.89)
// (1 to 3 channels, 1x3 to 7x7, 6 to 64 outputs, Zen 4, one thread).
constexpr int64_t kTapPairLoads = 2, kTapPairStores = 1, kTapPairPercent = 113;
constexpr int64_t kFilledPercentOfTapPairs = 45;
// Against pairs of channels in blocks of an odd number there, which are counted as in in_pairs.h: 1x1 layers of 65 to
// 255 channels and 91 to 512 outputs take 0.49 to 0.81 of the time of single ones, 3x3 of 5 channels 0.82, 1x1 of 19
// channels and 64 outputs 0.96, of 21 to 81 channels and 8 to 21 outputs 1.16 to 1.59, of 43 blocks of 3 channels
// 1.65 (contiguous, Zen 4). In channels_last pixels lose with 4 outputs, too (0.85).
constexpr int64_t kOddBlockLoads = 160, kOddPairStores = 12;
constexpr int64_t kWidestJob = 1024;                        // columns
constexpr int64_t kPixelsOfJob = 384;                       // at least, where the layer has them
constexpr double kPixelWork = 512e3, kMostPixelWork = 2e6;  // of a job
constexpr int64_t kLeastChunkChannels = 64;
constexpr int64_t kMergedImages = 16;
// Rows of the result are summed where they lie, one by one, if they and their tiles are long enough.
constexpr int64_t kDirectColumns = 96, kDirectChannels = 16;
// A walk is cut into spans that leave out tap rows of padding if that saves a tenth of the work, a
// span costing so many steps.
constexpr int64_t kPaddedRows = 10;  // one in so many sees padding
constexpr double kSpanSteps = 16, kSpansRepay = 0.9;
constexpr int64_t kPackedElements = 32 << 10;  // of a job of stage 0

// pointwise, against dense_pixels, which copies nothing: below so many multiply-adds per pixel the
// copy costs 5 to 15 %; from 2304 on pointwise was ahead on every layer of the benchmark, by 2 to 50 %.
constexpr int64_t kLeastPointwiseWork = 2000;
constexpr int64_t kSlabDepth = 256;        // a slab of 16 floats stays in the L1 cache
constexpr int64_t kPointwisePixels = 400;  // of a job at least, where the layer has them
constexpr double kPointwiseWork = 2e6;     // of a job
constexpr int64_t kPointwiseImages = 16;
// Every piece copies its slabs anew: it should not be too short, above all where that is slow.
constexpr int64_t kPiecePanels = 2, kPiecePanelsWithStride = 4;

// winograd
// Of a panel: with four the sums of a group at all points would be 0.9 MB, and are no faster (Sapphire Rapids).
constexpr int64_t kWinogradPanelBlocks = 3;
constexpr int64_t kGroupTiles = 48;             // uses of a weight, where all come first
constexpr int64_t kSharedGroupTiles = 96;       // where a job transforms its own
constexpr int64_t kMostPoints = 36;             // tiles with more come in half of such groups
constexpr int64_t kWeightsKept = 3 << 20;       // bytes of them that come first, at most
constexpr int64_t kLeastGroups = 4;             // fewer share their transformed source
constexpr int64_t kEvenGroups = 16;             // fewer are an even number
constexpr int64_t kLeastCutTiles = 16;          // a single row of so many is cut into several units
constexpr int64_t kGroupSourceBytes = 9 << 20;  // transformed, of a group
constexpr int64_t kRepeatSourceBytes = 14 << 20;  // and of those that are transformed at once
constexpr int64_t kWindowBytes = 192 << 10;       // of the source, loaded at once
// Jobs go by blocks of source channels where the values of a group at all points would fill so much of the L2 cache,
// and its sums of all panels fill no more than so much; then so many bytes of weights come first, at most. 512 -> 64
// channels at 14x14 take 0.6 of the time that they take with the source first, 256 -> 128 at 28x28 0.69 to 0.81,
// 160 -> 160 0.73 to 0.78, 256 -> 256 at 14x14, 32 images, 0.72 to 0.88, 512 -> 256 at 28x28, 19 MB, 0.81 to 0.92. Of
// few tiles, 128 of 512 -> 64 channels take 0.75, 64 of them 0.87, 196 of 256 -> 256 0.9, but 49 of 512 -> 128 1.25,
// 128 of 256 -> 256 1.04 to 1.1. 256 channels of 1 x 3 kernels, whose values are few, take 0.99 to 1.09 (Sapphire
// Rapids, 2 MB of L2 cache).
constexpr int64_t kWeightsOfBlocks = 20 << 20, kLeastGroupsOfBlocks = 2;
constexpr int64_t kTilesPercentOfBlocks = 75;  // of the destination channels
constexpr int64_t kValuesPercentOfL2 = 40, kSumsPercentOfL2 = 90;
// Of the rows of an image that wait until it is folded: a bound of memory, not of speed.
constexpr int64_t kWaitingBytes = 4 << 20;

// depthwise
// One plane feeds several maps: with more of them a dense kernel, which reads it once for all, wins.
constexpr int64_t kMostMultiplier = 3;
constexpr int64_t kDepthwiseRows = 4;     // destination rows of a register tile
constexpr double kDepthwiseWork = 250e3;  // of a job, at least
constexpr int64_t kMostDepthwiseImages = 64;
constexpr int64_t kPlanePatchBytes = 24 << 10;     // stays in the L1 cache
constexpr int64_t kChannelPatchBytes = 192 << 10;  // stays in the L2 cache
constexpr int64_t kLargestPatchBytes = 768 << 10;  // of a kernel that few rows would load again
// A job in place spans at least so many rows and blocks, so that it streams memory instead of hopping
// between pixels.
constexpr int64_t kInPlaceRows = 8, kInPlaceBlocks = 16;
// Where threads share an image, a job spans at least so many: 960 channels on 7x7, 10.6 us in the place of 25 (Zen 4).
constexpr int64_t kLeastSharedRows = 3;
constexpr int64_t kInPlaceKernel = 7;       // of tiles: larger ones see padding almost everywhere
constexpr int64_t kPackedBytes = 64 << 10;  // of weights, one job
constexpr int64_t kTileWeightBytes = 8 << 10;  // beside a tile's source in the L1 cache
// Pixel runs go along whole rows with all blocks of a job whose weights stay in the L2 cache: parts of rows or a
// few blocks at a time, for the L1 cache, took 1.02 to 4 times as long (3x3 to 11x11, 7 x 7 to 128 x 256, Zen 4).
constexpr int64_t kRunWeightBytes = 256 << 10;
// Source and sums of the blocks of a transposed map that are computed at once, so that what each row costs before its
// first pixel is shared: 7x7 maps take 0.6 to 0.77 of the time (Zen 4).
constexpr int64_t kRunPatchBytes = 128 << 10;
// Maps up to this width are transposed for kernels too large for strips.
constexpr int64_t kTransposedRow = 128, kTransposedRowAvx2 = 32;
// An input gradient of padding that repeats elements is that of a wider image, whose rim can be added while channels
// fill the lanes: transposed where they fill so many times as many as pixels do. 14 x 14 and 56 x 56 take 0.7 to 0.9
// of the time with 3 x 3 kernels, 14 x 14 to 56 x 56 0.55 to 0.8 with 7 x 7; but with 3 x 3 ones at 28 x 28 1.2
// times: rows of several vectors and few taps are transposed where the caches do not hold them (Zen 4). With AVX2 and a
// busy L3 cache results of 5 to 7 MB take 0.4 to 0.7 of the time, of 4 MB 0.94, of 3 MB 1.1 (Zen 3).
constexpr double kFilledByFolding = 0.9;
constexpr int64_t kFewFoldedTaps = 9;
constexpr double kFoldedInCaches = 8 << 20, kFoldedInCachesAvx2 = 4 << 20;  // bytes of the result
// Operands beyond this find no room in a cache: lines are asked for when so many others are yet to be
// written.
constexpr double kFetchBytes = 3 << 20;
constexpr int64_t kFetchLines = 12;
// Strips of pixels ask for rows so far ahead, where source and result are larger than this: where other work shares
// the L3 cache, contiguous maps of 28 x 28 to 112 x 112 take 0.45 to 0.95 of the time, input gradients of 14 x 14
// 0.3; with 4 to 6 MB 1.0 to 1.2 (Zen 3).
constexpr double kStripFetchBytes = 6 << 20;
constexpr int64_t kStripRowsAhead = 10;

// grouped_channels, against dense_pixels and dense_channels, whose vectors hold one group: with less of the lanes
// of all vectors filled, 8, 12 or 24 channels of which 16 are a vector, it takes 1.0 to 1.3 times as long, with
// more of them 0.5 to 0.9 (groups of 4 and 8, 3 x 3, Zen 4). Of 1 x 1 kernels, limited by memory, 24
// channels take 0.7 to 0.77 times as long in bfloat16 and 0.86 to 1.04 in float32.
constexpr double kFilledByGroups = 0.8, kFilledByGroupsOfOneTap = 0.7;
// The same of a vector by the groups that it has room for: groups of 6, 7, 10 and 12 channels take 0.4 to 0.9 times
// as long in 3 x 3 kernels, of 9, 10 and 11 channels 0.73 to 1.2, with one tap of 9 to 15 channels 0.27 to 1. With
// twice the source channels, in two vectors, 0.4 to 0.9, but 32 channels for one group of 9 or 12 take 1.1 to 1.4
// (28 x 28, Sapphire Rapids), and two vectors of AVX2, with two permutations for one, 0.9 to 2.
constexpr double kFilledByOneVector = 0.7, kFilledByOneVectorOfOneTap = 0.5;
// With vectors of AVX2 it takes 1.2 to 1.5 times as long where these are fewer source channels of a group, or all
// channels are one vector (37 x 37), else 0.4 to 1.1 times (3 x 3 to 37 x 37, Zen 4).
constexpr int64_t kShortVectorChannels = 2;
// Weights of a job: 32 KB take up to 1.1 times, 16 KB up to 1.25 times as long as 64 to 256 KB (Zen 4).
constexpr int64_t kGroupWeightBytes = 128 << 10;

// grad_weight: sums of one tap that see padding only, in the mean of all pixels, from which on it repays to look for
// them. Groups of 16 at 14 x 14, with 24 of them, took 1.04 to 1.08 of the time, 48 to 95 of other layers 0.95 to
// 0.98, 185 of groups of 32 at 7 x 7 0.91 and 530 of 5 x 5 kernels at 8 x 8 0.8 (Zen 4).
constexpr double kSkippedSums = 40;
// Operands of a 1 x 1 layer in channels_last beyond this are fetched a pass ahead: 0.92 to 1 of the time with 12 to
// 38 MB, 1 to 1.03 with 4 to 8 MB (Zen 4).
constexpr double kNextPassBytes = 10 << 20;
// Chunks whose sums are kept at once, where they are small: longer waves than the threads need.
constexpr int64_t kLongestWave = 64;
constexpr int64_t kWaveBytes = 1 << 20;

// winograd_grad_weight: tiles side by side that are loaded at once.
constexpr int64_t kWinogradRunTiles = 16;
constexpr int64_t kWinogradOperandsKept = 14 << 20;  // bytes, transformed once for all jobs

}  // namespace torchconv::cpu::cost

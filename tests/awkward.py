"""The small awkward shapes that the tests run.

They break tilings: counts one below and one above a register tile, kernels larger than the image,
gaps between windows, padding past the kernel.
"""

from __future__ import annotations

from dataclasses import replace

from tests.cases import Conv2dCase, case, grouped


def _sweep(label: str, values: tuple[int, ...], build) -> list[Conv2dCase]:
    return [replace(build(v), name=f"{label}{v}") for v in values]


CHANNELS = (1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 47, 48, 49, 65)
WIDTHS = (1, 2, 7, 13, 14, 15, 16, 17, 31, 33, 47, 48, 49, 50)

AWKWARD: tuple[Conv2dCase, ...] = (
    # Every channel and width count beside a multiple of a register tile.
    *_sweep("k=", CHANNELS, lambda k: case("", 2, 6, (5, 19), k, 3, bias=True)),
    *_sweep("c=", CHANNELS, lambda c: case("", 2, c, (6, 17), 10, 3)),
    *_sweep("1x1_c=k=", CHANNELS, lambda c: case("", 2, c, (5, 7), c, 1, bias=True)),
    *_sweep("q=", WIDTHS, lambda q: case("", 1, 3, (4, q), 9, 3, bias=True)),
    *_sweep("valid_q=", WIDTHS, lambda q: case("", 2, 4, (5, q + 4), 8, 5, padding=0)),
    *_sweep("s2_q=", WIDTHS, lambda q: case("", 1, 5, (7, 2 * q), 6, 3, 2)),
    *_sweep("depthwise_q=", WIDTHS, lambda q: grouped("", 2, 5, (6, q), 1, 3)),
    *_sweep("depthwise7_q=", WIDTHS, lambda q: grouped("", 1, 3, (9, q), 1, 7, bias=True)),
    *_sweep("depthwise_c=", CHANNELS, lambda c: grouped("", 2, c, (5, 6), 1, 3, bias=True)),
    *_sweep("dense_batch", (0, 1, 2, 5), lambda n: case("", n, 4, 7, 6, 3, bias=True)),
    *_sweep("depthwise_batch", (0, 1, 2, 5), lambda n: grouped("", n, 4, 7, 1, 3)),
    *_sweep("c_per_group=", (1, 2, 3, 4, 5), lambda c: case("", 2, 3 * c, 8, 12, 3, groups=3)),
    # Kernels of every shape.
    case("1x7", 2, 5, (6, 20), 7, (1, 7)),
    case("7x1", 2, 5, (20, 6), 7, (7, 1)),
    case("3x5", 2, 3, (9, 11), 4, (3, 5), bias=True),
    case("2x2", 2, 3, 9, 4, 2),
    case("4x4_pad1", 2, 3, 9, 4, 4, padding=1),
    case("11x11", 1, 3, 30, 17, 11, 4, padding=2, bias=True),
    # Few planes, read as they lie: as patches, of two groups, with a tap row here and there.
    case("patches_4x4", 2, 3, (16, 21), 24, 4, 4, padding=0, bias=True),
    case("patches_of_groups", 2, 6, (9, 12), 40, 3, 3, padding=0, groups=2),
    case("planes_far_apart", 1, 2, (40, 9), 20, 3, dilation=(12, 1), padding=(12, 1)),
    case("15x15", 1, 2, 20, 3, 15),
    case("kernel_is_image", 2, 3, (9, 12), 5, (9, 12), padding=0),
    case("kernel_over_image", 2, 3, 5, 4, 9, padding=2),
    # Few channels under much padding: rows that leave out taps, alone and several images at once.
    case("padded_9x9", 2, 5, (9, 13), 7, 9, bias=True),
    case("padded_9x9_s2", 3, 7, (13, 10), 6, 9, 2),
    case("unpadded_5x5", 3, 6, 14, 16, 5, padding=0),
    case("unpadded_5x5_small", 9, 6, (6, 8), 10, 5, padding=0),
    case("padded_far_dilation", 2, 7, (9, 11), 5, 5, dilation=2),
    grouped("depthwise_31x31", 1, 3, 20, 1, 31),
    grouped("depthwise_5x2", 2, 6, (8, 9), 1, (5, 2), padding=1),
    # Strides, also past the kernel and into its gaps.
    case("stride3", 2, 3, 17, 5, 3, 3, padding=1),
    case("stride2x3", 2, 4, (13, 17), 6, 3, (2, 3)),
    case("stride1x2", 2, 4, (9, 18), 6, (3, 5), (1, 2)),
    case("stride_over_kernel", 2, 3, 19, 4, 2, 5, padding=0),
    case("4x4_stride2", 2, 17, (10, 11), 20, 4, 2, bias=True),
    case("1x3_stride2", 2, 20, (3, 19), 17, (1, 3), (1, 2)),
    case("1x1_stride2", 2, 17, 13, 9, 1, 2),
    case("1x1_stride3_pad", 2, 5, 10, 7, 1, 3, padding=1, bias=True),
    case("patchify", 2, 3, 32, 24, 4, 4, padding=0, bias=True),
    case("patchify_2x2", 2, 16, 14, 32, 2, 2, padding=0),
    case("patchify_rest", 2, 3, 18, 8, 4, 4, padding=0),
    grouped("depthwise_stride2", 2, 9, (15, 33), 1, 3, stride=2),
    grouped("depthwise5_stride2", 2, 6, (12, 21), 1, 5, stride=2, bias=True),
    # Narrower than the stride: a phase of the input gradient is missing; several chunks.
    case("missing_phase", 1, 15, (6, 1), 48, (6, 3), (1, 2), (0, 0, 1, 1)),
    case("missing_phase_few", 1, 3, (1200, 1), 130, 3, (1, 2)),
    # Channels enough for the lanes: both phases of stride two in one run, and rows that end it.
    *_sweep(
        "depthwise_lanes_w=",
        (3, 4, 7, 8, 17, 18, 23),
        lambda w: grouped("", 2, 23, (9, w), 1, 3, stride=2, bias=True),
    ),
    *_sweep(
        "depthwise5_lanes_w=", (8, 15, 17, 20), lambda w: grouped("", 1, 33, (7, w), 1, 5, stride=2)
    ),
    grouped("depthwise_lanes_no_pad", 2, 32, (8, 11), 1, 3, stride=2, padding=0),
    grouped("depthwise_lanes_pad2", 2, 16, (8, 11), 1, 3, stride=2, padding=(2, 1, 0, 2)),
    # Several blocks of an image at once, of which rows at an end are seen by no result.
    grouped("depthwise_unseen_row", 2, 33, (8, 11), 1, 3, stride=2, padding=0, bias=True),
    grouped("depthwise_unseen_rows", 1, 40, (3, 2), 1, 3, padding=8, dilation=3, bias=True),
    # Rows of taps in parts.
    *_sweep(
        "depthwise_parts_s=",
        (2, 4, 6, 7, 9, 13),
        lambda s: grouped("", 1, 33, (7, 22), 1, (3, s), stride=2, bias=True),
    ),
    *_sweep(
        "depthwise_parts_w=", (5, 14, 17, 34), lambda w: grouped("", 2, 27, (8, w), 1, 7, stride=2)
    ),
    grouped("depthwise_stride3x2", 2, 5, (14, 19), 1, 3, stride=(3, 2)),
    # Dilation.
    case("dilation2", 2, 5, (11, 18), 6, 3, dilation=2),
    case("dilation3x2", 2, 4, (15, 17), 5, 3, dilation=(3, 2), padding=2),
    case("dilation2_stride2", 2, 4, (13, 16), 6, 3, 2, dilation=2),
    case("dilation3_stride2x3", 1, 3, 23, 5, 3, (2, 3), dilation=3, padding=1),
    case("dilation2_stride3", 2, 4, (13, 16), 6, 3, 3, dilation=2),
    case("dilation_over_image", 1, 4, 7, 5, 3, dilation=6),
    grouped("depthwise_dilation2", 2, 6, (10, 21), 1, 3, dilation=2),
    grouped("depthwise_dilation2_stride2", 2, 6, (11, 22), 1, 3, dilation=2, stride=2),
    grouped("depthwise_dilation2_stride3", 2, 6, (11, 22), 1, 3, dilation=2, stride=3),
    # Padding that reaches past the kernel, and one that differs on the four sides.
    case("pad_is_kernel", 2, 3, 6, 4, 3, padding=3),
    case("pad_over_kernel", 2, 3, 6, 4, 3, padding=(5, 4), bias=True),
    case("pad_1x1", 2, 6, 5, 4, 1, padding=2),
    case("pad_stride", 2, 3, 5, 4, 3, 2, padding=4),
    case("stride_over_image", 2, 3, (4, 5), 4, 3, (6, 7), padding=5),
    case("dilation_over_image_padded", 2, 3, (4, 5), 4, 2, padding=4, dilation=(6, 7)),
    case("four_sides", 2, 3, (7, 9), 5, 3, padding=(0, 1, 2, 3)),
    case("four_sides_stride2", 2, 3, (8, 9), 5, 3, 2, padding=(0, 1, 1, 2), bias=True),
    case("same_2x4", 2, 5, (7, 8), 6, (2, 4), padding=(0, 1, 1, 2)),
    grouped("depthwise_four_sides", 2, 5, (7, 17), 1, 3, padding=(3, 0, 0, 2)),
    grouped("depthwise_pad_over_kernel", 2, 4, 6, 1, 3, padding=4),
    # Groups.
    case("groups2", 2, 10, 9, 14, 3, groups=2, bias=True),
    case("groups4_k_per_group=1", 2, 12, 8, 4, 3, groups=4),
    case("groups_1x1", 2, 24, 7, 36, 1, groups=4),
    case("groups_1x1_of_few", 2, 48, (5, 19), 144, 1, groups=16, bias=True),
    *_sweep(
        "groups_of=", (3, 5, 6, 12), lambda c: case("", 2, 15 * c, (5, 19), 15 * c, 3, groups=15)
    ),
    *_sweep(
        "groups_to=", (3, 4, 6), lambda k: case("", 1, 30 * k, (9, 22), 15 * k, 3, 2, groups=15)
    ),
    case("groups_stride2", 2, 16, 11, 16, 3, 2, groups=4),
    case("odd_blocks", 2, 27, (7, 9), 33, 3, bias=True),
    case("odd_blocks_1x1", 3, 51, (5, 6), 85, 1),
    case("odd_blocks_apart", 1, 7, (45, 17), 15, (2, 5), 2, (3, 4), (18, 2)),
    case("groups_of_17", 1, 34, 7, 34, 3, groups=2),
    # Several rows in one run of tiles, the first and last columns of all of them; half a vector.
    case("run_of_rows", 2, 48, (9, 14), 48, 3, groups=3),
    case("run_of_rows_stride2", 1, 32, (17, 15), 32, 3, 2, groups=2, bias=True),
    case("half_vector", 2, 48, (9, 13), 48, 3, groups=2, bias=True),
    case("half_vector_5x5", 1, 6, (12, 9), 40, 5),
    case("rows_together", 2, 5, (11, 40), 48, 3, bias=True),
    case("groups_together", 2, 102, (5, 9), 102, 3, 2, groups=17, bias=True),
    grouped("multiplier2", 2, 7, (9, 17), 2, 3, bias=True),
    grouped("multiplier3_stride2", 2, 5, 11, 3, 3, stride=2),
    grouped("multiplier2_one_column", 2, 7, 11, 2, (3, 1), stride=2),
    grouped("multiplier3_one_column", 2, 2, 11, 3, (3, 1), stride=2, bias=True),
    grouped("depthwise_1x1", 2, 9, 7, 1, 1, bias=True),
    # Windows of the depthwise weight gradient: whole and cut blocks, several parts of rows.
    *(
        grouped(f"windows{k}_c={c}_s{s}", 2, c, (11, 9), 1, k, stride=s)
        for k in (3, 5, 7)
        for c in (16, 24, 32)
        for s in (1, 2)
    ),
    grouped("windows_q=1", 2, 16, (5, 1), 1, 7),
    grouped("windows_wide", 1, 32, (40, 130), 1, 3),
    grouped("windows_pad_over_kernel", 2, 16, (4, 5), 1, 3, padding=5),
    grouped("windows_four_sides", 2, 16, (7, 12), 1, 5, stride=2, padding=(3, 0, 0, 6)),
    grouped("windows_dilated_rows", 2, 16, (13, 8), 1, (3, 3), dilation=(2, 1), stride=(2, 1)),
    grouped("windows_tall", 2, 16, (19, 6), 1, (9, 3), stride=(3, 1)),
    grouped("windows_blocks", 3, 272, 6, 1, 3),
    *_sweep("one_plane_k=", (4, 6, 11, 12, 13), lambda k: case("", 9, 1, (9, 12), k, 5)),
    # Few channels: in channels_last their planes are taken apart, up to four of them.
    *_sweep("few_planes_c=", (1, 2, 3, 4, 5), lambda c: grouped("", 2, c, (9, 21), 1, 9)),
    *_sweep("few_planes_q=", (3, 4, 5), lambda q: grouped("", 1, 4, (6, q), 1, 3, bias=True)),
    grouped("few_planes_1to2", 2, 1, (9, 35), 2, 3, bias=True),
    grouped("few_planes_2to4", 2, 2, (9, 21), 2, 3),
    grouped("few_planes_2to6", 2, 2, (9, 21), 3, 3),
    grouped("few_planes_stride2", 2, 3, (9, 37), 1, 3, stride=2, bias=True),
    grouped("few_planes_stride3_1to2", 2, 1, (10, 23), 2, 5, stride=3),
    grouped("few_planes_dilation2", 2, 3, (11, 21), 1, (3, 9), dilation=2),
    # Whole vectors of channels: runs of pixels for every number of taps in a row, and both strides.
    *_sweep("runs_taps=", (1, 2, 3, 4, 5, 6, 7, 8), lambda s: grouped("", 2, 32, 11, 1, (3, s))),
    *_sweep("runs_q=", (1, 3, 4, 5, 7, 8, 9, 17), lambda q: grouped("", 1, 16, (5, q), 1, 3)),
    *_sweep("runs_s2_q=", (3, 4, 5, 9), lambda q: grouped("", 1, 16, (9, 2 * q), 1, 3, stride=2)),
    *_sweep("runs5_s2_w=", (8, 15, 16, 17), lambda w: grouped("", 1, 48, (9, w), 1, 5, stride=2)),
    grouped("runs7_strips", 1, 48, (9, 65), 1, 7, bias=True),
    grouped("runs_dilation2", 2, 16, (9, 19), 1, 3, dilation=2, bias=True),
    grouped("runs_stride5", 1, 16, (11, 23), 1, 3, stride=5),
    # Groups that are computed side by side, and such whose taps leave no room for it.
    case("groups4_of_4", 3, 16, 9, 16, 3, groups=4),
    case("groups6_of_2to3", 2, 12, (7, 10), 18, 3, 2, groups=6, bias=True),
    case("groups_1to4", 2, 8, 9, 32, 3, groups=8),
    case("groups4_of_4_15x15", 1, 16, 16, 16, 15, groups=4),
    # Groups that share vectors in channels_last: rows of one and two runs, whole and cut vectors,
    # more channels than a job has; steps, gaps and padding of all kinds; groups that do not fit.
    *_sweep(
        "shared_q=",
        (1, 2, 3, 7, 8, 9, 15, 16, 17, 33),
        lambda q: case("", 2, 16, (4, q), 16, 3, groups=4, bias=True),
    ),
    *_sweep("shared_groups=", (2, 3, 5, 7), lambda g: case("", 2, 8 * g, 5, 8 * g, 3, groups=g)),
    *_sweep(
        "shared_s2_q=", (1, 2, 8, 9, 17), lambda q: case("", 1, 28, (7, 2 * q), 28, 3, 2, groups=7)
    ),
    *_sweep("shared_k=", (4, 5, 6, 8, 12), lambda k: case("", 2, 16, 6, 4 * k, 3, groups=4)),
    *_sweep("shared_c=", (1, 2, 3, 4, 5, 8), lambda c: case("", 2, 7 * c, 6, 28, 1, groups=7)),
    case("shared_1x1_4to8", 2, 20, (5, 19), 40, 1, groups=5, bias=True),
    case("shared_1x1_s2", 2, 16, (9, 35), 16, 1, 2, groups=4),
    case("shared_1x1_s3", 2, 32, (7, 16), 32, 1, 3, groups=4),
    case("shared_jobs", 1, 480, 4, 480, 3, groups=60),
    case("shared_rows", 1, 32, (20, 35), 32, 3, groups=8),
    case("shared_3x2", 2, 16, (6, 9), 16, (3, 2), groups=4),
    case("shared_2x2_s2", 2, 16, (6, 9), 16, 2, 2, groups=4),
    case("shared_7x1", 2, 16, (9, 5), 16, (7, 1), groups=4, bias=True),
    case("shared_1x7", 2, 16, (5, 12), 16, (1, 7), groups=4),
    case("shared_5x5", 2, 16, 9, 16, 5, groups=4),
    case("shared_dilation2", 2, 16, (9, 21), 16, 3, dilation=2, groups=4, bias=True),
    case("shared_dilation2_s2", 2, 16, (9, 21), 16, 3, 2, dilation=2, groups=4),
    case("shared_dilated_rows_s2", 2, 16, (11, 13), 16, 3, 2, dilation=(2, 1), groups=4),
    case("shared_s3", 1, 16, (11, 23), 16, 3, 3, groups=4),
    case("shared_pad_over_kernel", 2, 16, (3, 4), 16, 3, padding=4, groups=4, bias=True),
    case("shared_four_sides_s2", 2, 16, (8, 11), 16, 3, 2, padding=(3, 0, 0, 2), groups=4),
    # Pointwise: several chunks and strips, slabs over rows and images, rows cut by slabs, strides.
    case("pointwise_chunks", 5, 300, 7, 70, 1, bias=True),
    case("pointwise_long_row", 2, 48, (1, 800), 50, 1),
    case("pointwise_stride2", 3, 40, (9, 8), 60, 1, 2, bias=True),
    case("pointwise_stride3_row", 2, 48, (1, 50), 49, 1, 3),
    case("pointwise_groups", 2, 100, 6, 98, 1, groups=2, bias=True),
    case("pointwise_pieces", 2, 64, 14, 208, 1, bias=True),
    case("pointwise_pieces_stride2", 1, 72, 28, 400, 1, 2),
    case("pointwise_rows", 3, 40, 14, 24, 1, bias=True),
    # One vector of outputs: neighbouring pixels, runs of channels, runs of neighbouring taps.
    case("one_vector_planes", 2, 1, (7, 65), 16, (5, 3), bias=True),
    case("one_vector_runs", 2, 48, (6, 43), 13, 3, dilation=(1, 2)),
    case("one_vector_joined", 3, 16, (9, 30), 15, 3, bias=True),
    # Winograd along one axis: tiles that stick out, rows of several parts, dilations.
    case("one_axis_1x3", 2, 32, (3, 18), 40, (1, 3), bias=True),
    case("one_axis_sequence", 1, 33, (1, 230), 48, (1, 3), padding=(0, 0, 2, 0)),
    case("one_axis_frames", 2, 36, (32, 9), 33, (3, 1), dilation=(8, 1), bias=True),
    case("one_axis_3x1", 3, 50, (11, 5), 32, (3, 1), padding=(0, 2, 1, 0)),
    case("one_axis_1x5", 2, 64, (1, 39), 70, (1, 5), bias=True),
    case("one_axis_5x1", 2, 65, (14, 6), 64, (5, 1), padding=0),
    # Large kernels as sums of small ones: all numbers of taps that the last part may have.
    case("parts_4x4", 2, 33, (9, 14), 40, 4, bias=True),
    case("parts_9x5", 1, 20, (17, 13), 34, (9, 5), padding=(3, 4, 0, 2)),
    case("parts_7x8", 1, 64, (11, 15), 17, (7, 8), bias=True),
    case("parts_3x7_dilated", 2, 32, (20, 33), 32, (3, 7), dilation=(2, 1)),
    case("parts_1x7", 2, 64, (3, 29), 70, (1, 7), bias=True),
    case("parts_1x9", 1, 65, (1, 90), 64, (1, 9), padding=(0, 0, 8, 0)),
    case("parts_8x1", 1, 64, (31, 3), 64, (8, 1)),
    case("parts_11x1", 1, 70, (40, 2), 65, (11, 1), bias=True),
    # Weight gradients that read a channels_last operand in place, one of them or both.
    case("in_place_1x1", 3, 48, (9, 11), 24, 1),
    case("in_place_1x1_stride2", 2, 80, (7, 9), 40, 1, 2),
    case("in_place_groups", 2, 96, 5, 64, 1, groups=2),
    case("in_place_grad", 2, 20, (6, 7), 48, 3),
    case("in_place_grad_tall", 2, 32, (6, 7), 21, 3),
    # Patch embeddings, whose taps become channels: an odd number of pixels and a rest of the image,
    # spans that slabs cut, outputs in the lanes and gaps, spans of several vectors.
    case("patches", 3, 3, (13, 22), 20, 4, 4, padding=0, bias=True),
    case("patches_5x7", 2, 5, (11, 22), 33, (5, 7), (5, 7), padding=0),
    case("patches_apart", 2, 3, (5, 17), 16, (1, 4), (2, 5), padding=0),
    case("patches_long_runs", 2, 20, (9, 13), 9, 4, 4, padding=0),
    # Rows long enough to be summed in the result, whole and cut blocks of them, with and without a
    # copy of the source; strides whose planes are taken apart at once.
    case("long_rows", 2, 3, (4, 101), 17, 3, bias=True),
    case("long_rows_in_place", 2, 2, (5, 114), 16, 3, padding=0),
    case("long_rows_in_place_cut", 1, 3, (5, 103), 16, 3, padding=0),
    *_sweep("s4_w=", (17, 36, 39, 67), lambda w: case("", 2, 2, (9, w), 5, 5, 4, bias=True)),
    case("s2_four_sides", 2, 3, (6, 40), 6, (3, 4), 2, padding=(1, 1, 3, 0)),
    # Many small images: tiles across images, passes of several images, padding left out.
    case("many_images_1x1_out", 21, 20, 5, 24, 5, padding=0),
    case("many_images_4x4", 9, 40, 4, 50, 3, bias=True),
    case("many_images_7x7_stride2", 6, 17, 7, 66, 3, 2),
    # Weights that a job packs for itself, with all of its source or one chunk of the channels
    # after the other; images too large to be read in place in chunks, or fetched ahead.
    case("own_weights", 2, 96, 3, 112, 5, bias=True),
    case("own_weights_stride2", 2, 160, (5, 7), 184, 3, 2),
    case("own_weights_chunks", 1, 160, 24, 184, 3, 2),
    case("large_image_in_chunks", 1, 200, 37, 17, 3, 2, padding=0),
    case("large_image_ahead", 1, 100, 53, 17, 2, 2, padding=0),
    # 4 x 4 tiles of grad that stick out, of images with any padding, in rows longer
    # than are loaded at once; parts of an image, several images, several blocks of the result.
    case("grad_tiles", 3, 17, (11, 15), 35, 3),
    case("grad_tiles_unpadded", 2, 33, (9, 18), 16, 3, padding=0),
    case("grad_tiles_padded", 2, 16, (5, 3), 18, 3, padding=(3, 4, 5, 2)),
    case("grad_tiles_long_rows", 1, 16, (7, 90), 16, 3),
    case("grad_tiles_parts", 2, 16, (57, 56), 20, 3, padding=(0, 1, 1, 0)),
    case("grad_tiles_images", 27, 20, 7, 16, 3),
    case("grad_tiles_blocks", 2, 70, 8, 66, 3),
    # The same with a stride of two, with odd and even padding.
    case("strided_tiles", 2, 64, 16, 66, 3, 2),
    case("strided_tiles_even_padding", 1, 70, (15, 31), 64, 3, 2, padding=(2, 0, 0, 1), bias=True),
    # And of dilated layers: residues of different sizes, rows of tiles in parts, whose
    # pixels are side by side or not.
    case("dilated_tiles", 2, 17, (11, 15), 35, 3, dilation=(2, 3)),
    case("dilated_tiles_padded", 2, 16, (7, 6), 18, 3, padding=(3, 4, 5, 2), dilation=(1, 2)),
    case("dilated_tiles_long_rows", 1, 16, (7, 210), 16, 3, dilation=(2, 3)),
    case("dilated_tiles_far", 1, 16, (5, 230), 18, 3, dilation=(1, 100)),
    # Taps far apart: rows and columns that see only padding, sections of the patch.
    case("dilation12", 2, 6, 26, 40, 3, dilation=12),
    case("dilation9_stride2", 1, 34, (25, 23), 48, 3, 2, padding=9, dilation=9),
    # One pixel in, one pixel out, and shapes where several rules meet.
    case("one_by_one", 1, 1, 1, 1, 1),
    case("1x1_image_3x3", 2, 20, 1, 18, 3, bias=True),
    case("full_image", 20, 6, (5, 7), 36, (5, 7), padding=0, bias=True),
    case("full_image_groups", 3, 20, (3, 4), 40, (3, 4), stride=2, padding=0, groups=4),
    case("full_image_padded", 20, 6, (5, 7), 36, (5, 7), bias=True),
    case("full_image_below_a_row", 2, 6, (5, 7), 9, (5, 7), 2, padding=(1, 0, 0, 0)),
    case("full_image_beside_a_column", 2, 6, (5, 7), 9, (5, 7), 2, padding=(0, 0, 1, 0)),
    case("one_pixel", 33, 70, 1, 50, 1, bias=True),
    case("single_row", 2, 3, (1, 50), 5, (1, 3)),
    case("single_column", 2, 3, (50, 1), 5, (3, 1)),
    case("many_taps", 1, 130, 6, 20, 3),
    case("deep", 1, 300, 4, 33, 3, bias=True),
    case("uneven_chunks_stride2", 1, 24, 7, 130, 3, 2),
    # A walk that is the result, summed in several chunks of source channels, by jobs of several
    # panels; its end is a part of a vector.
    case("walk_in_chunks", 1, 240, (48, 33), 17, (3, 1), bias=True),
    case("rows_in_chunks", 1, 210, (6, 101), 17, (3, 1), bias=True),
    # More chunks of samples than are summed at once, and a last wave of them that is not full.
    case("many_chunks", 1100, 2, (2, 3), 3, (1, 2), padding=0),
    grouped("many_chunks_depthwise", 1100, 3, (2, 3), 1, (1, 3)),
    case("tall", 1, 2, (70, 3), 3, 3),
    case("tile_edges", 2, 33, (15, 17), 49, 3, bias=True),
)

"""Which layers Winograd's algorithms compute: by the shape of an image, the dtype and direction."""

import itertools
from dataclasses import replace

import pytest
import torch

from tests.cases import case
from tests.compare import same_bits
from tests.kernels.padding.test_padding_modes import MODES
from tests.kernels.winograd.algorithms import (
    ALGORITHMS,
    GATHERS,
    KERNELS,
    every_algorithm,
    every_gather,
    explanation,
    with_kernel,
)
from tests.reference import random_operands, run


def chosen_for(op, shape, dtype, channels_last):
    name = explanation(op, shape, dtype, channels_last)[-1].split(":")[0]
    return name if name in ALGORITHMS else "direct"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_choice_depends_on_the_shape_of_an_image_and_the_dtype_alone(dtype):
    """In both layouts: no other batch gives a sample other bits."""
    chosen = set()
    for c, k, size in ((64, 64, 56), (3, 64, 56), (512, 512, 7), (16, 16, 32), (64, 64, 2)):
        for op in GATHERS:
            shapes = [case("", n, c, size, k, 3) for n in (1, 7, 300)]
            found = {
                chosen_for(op, shape, dtype, channels_last)
                for shape in shapes
                for channels_last in (False, True)
            }
            assert len(found) == 1, (found, c, k, size)
            chosen |= found
    assert chosen >= {"winograd_f4", "direct"}


def test_small_maps_of_bfloat16_are_summed_in_pairs():
    """Direct sums have twice the speed there; full tiles are worth it all the same."""
    f4, f2 = "winograd_f4", "winograd_f2"
    for size, wide, half in (
        (6, f2, "direct"),
        (7, f4, "direct"),
        (8, f4, f4),
        (9, f2, "direct"),
        (13, f4, "direct"),
        (14, f4, f4),
    ):
        shape = case("", 1, 64, size, 64, 3)
        for op in GATHERS:
            assert chosen_for(op, shape, torch.float32, True) == wide
            assert chosen_for(op, shape, torch.float16, True) == wide
            assert chosen_for(op, shape, torch.bfloat16, True) == half


def test_dilated_layers_count_products():
    """Of DeepLab, whose far taps mostly see padding; and maps whose residues are small tiles."""
    f4, f2 = "winograd_f4", "winograd_f2"
    for size, dilation, padding, wide, half in (
        (33, 2, None, f4, f4),
        (33, 4, None, f4, f4),
        (33, 6, None, f4, "direct"),
        (33, 12, None, "direct", "direct"),
        (33, 18, None, "direct", "direct"),
        (24, 4, 0, f4, f4),  # residues of 4 x 4 outputs
        (16, 4, 0, f2, "direct"),  # of 2 x 2
    ):
        shape = case("", 1, 64, size, 64, 3, padding=padding, dilation=dilation)
        found = {
            chosen_for("forward", shape, dtype, layout)
            for dtype in (torch.float32, torch.float16)
            for layout in (False, True)
        }
        assert found == {wide}, shape
        assert chosen_for("forward", shape, torch.bfloat16, True) == half, shape
    few = case("", 1, 32, 33, 32, 3, dilation=2)
    assert chosen_for("forward", few, torch.float32, True) == f4
    assert chosen_for("forward", few, torch.bfloat16, True) == "direct"
    # Padding that repeats the input is summed, too.
    ring = case("", 1, 64, 33, 64, 3, dilation=12)
    reasons = explanation("forward", ring, channels_last=True, padding_mode=MODES["circular"])
    assert reasons[-1].startswith(f4)


def test_small_maps_and_bfloat16_of_5x5_layers_are_summed_directly():
    fast, direct = "winograd_5x5", "direct"
    for channels, size, dtype, expected in (
        (64, 27, torch.float32, fast),
        (64, 27, torch.float16, fast),
        (64, 27, torch.bfloat16, direct),
        (16, 6, torch.float32, fast),
        (15, 27, torch.float32, direct),
        (64, 5, torch.float32, direct),
        (64, (1, 100), torch.float32, direct),
    ):
        for op, batch in itertools.product(GATHERS, (1, 7, 300)):
            shape = case("", batch, channels, size, 64, 5)
            assert chosen_for(op, shape, dtype, False) == expected, shape
            assert chosen_for(op, shape, dtype, True) == expected, shape


def test_kernels_of_one_row_or_column_count_products():
    direct = "direct"
    for channels, size, kernel, dilation, expected in (
        (64, (1, 100), (1, 3), 1, "winograd_1x3"),
        (32, (1, 8), (1, 3), 1, "winograd_1x3"),
        (31, (1, 100), (1, 3), 1, direct),
        (64, (1, 9), (1, 3), 1, direct),  # of three tiles the last has one pixel
        (64, (1, 7), (1, 3), 1, direct),
        (64, (1, 100), (1, 3), (1, 90), direct),  # most taps see padding
        (64, (32, 7), (3, 1), (4, 1), "winograd_3x1"),
        (64, (1, 100), (3, 1), 1, direct),
        (64, (17, 17), (1, 5), 1, "winograd_1x5"),
        (63, (17, 17), (1, 5), 1, direct),
        (64, (17, 17), (5, 1), 1, "winograd_5x1"),
    ):
        for op, batch in itertools.product(GATHERS, (1, 7, 300)):
            shape = case("", batch, channels, size, 64, kernel, dilation=dilation)
            for dtype in (torch.float32, torch.float16):
                assert chosen_for(op, shape, dtype, False) == expected, shape
                assert chosen_for(op, shape, dtype, True) == expected, shape
            assert chosen_for(op, shape, torch.bfloat16, True) == direct


@every_gather
def test_f2_leaves_out_the_5x5_layers(op):
    """Their error is that of F(4x4, 3x3)."""
    shape = case("", 2, 64, 27, 64, 5)
    t = random_operands(shape, torch.float32)
    direct, fast = (run(op, shape, t, winograd=mode) for mode in ("off", "auto"))
    assert same_bits(run(op, shape, t, winograd="f2"), direct)
    assert not same_bits(fast, direct)


@pytest.mark.parametrize("batch", [1, 300])
def test_a_stride_of_two_counts_tiles(batch):
    """Full tiles and many channels repay the transforms."""
    square, four, row = "winograd_stride2", "winograd_4x4_stride2", "winograd_1x3_stride2"
    for kernel, c, k, size, expected in (
        (3, 64, 64, 56, square),
        (3, 64, 256, 16, square),
        (3, 63, 64, 56, "direct"),
        (3, 64, 32, 56, "direct"),
        (3, 3, 64, 224, "direct"),
        (3, 128, 128, 28, "direct"),  # 14 x 14 outputs fill 77 % of their tiles
        (3, 256, 256, 28, square),
        (3, 256, 512, 14, square),
        (3, 256, 256, 18, "direct"),
        (3, 512, 512, 8, "direct"),  # one tile
        (4, 64, 128, 64, four),
        (4, 256, 512, 16, four),
        (4, 63, 64, 64, "direct"),
        (4, 256, 256, 14, four),
        (4, 256, 256, 20, "direct"),  # 10 x 10 outputs fill 69 % of their tiles
        (4, 512, 512, 8, "direct"),  # one tile
        ((1, 3), 512, 512, (1, 3000), row),
        ((1, 3), 128, 256, (1, 100), row),
        ((1, 3), 127, 256, (1, 100), "direct"),
        ((1, 3), 128, 256, (1, 60), "direct"),
    ):
        stride = 2 if isinstance(kernel, int) else (1, 2)
        shape = case("", batch, c, size, k, kernel, stride)
        for op, channels_last in itertools.product(GATHERS, (False, True)):
            for dtype in (torch.float32, torch.float16):
                assert chosen_for(op, shape, dtype, channels_last) == expected, (op, shape)
            assert chosen_for(op, shape, torch.bfloat16, channels_last) == "direct"


def test_f2_and_off_leave_out_a_stride_of_two():
    shape = case("", 2, 64, 32, 64, 3, 2)
    t = random_operands(shape, torch.float32)
    for op in GATHERS:
        direct, f2, fast = (run(op, shape, t, winograd=mode) for mode in ("off", "f2", "auto"))
        assert same_bits(f2, direct) and not same_bits(fast, direct)


@every_algorithm
def test_other_layers_are_refused(algorithm):
    torch.ops.torchconv._force_algorithm(algorithm)
    r, s, stride = KERNELS[algorithm]
    plain = with_kernel(case("", 2, 32, 12, 32, 3), algorithm)
    other, of_other = replace(plain, r=2), f"{r} x {s}"
    far = "reaches too far" if "parts" in algorithm else "dilation"
    if "parts" in algorithm:
        other = replace(plain, r=3, s=3)
        of_other = "one row" if r == 1 else "one column" if s == 1 else "of its own"
    strides = [(2, 1), (3, 3)] + ([(1, 1), (2, 3)] if stride != (1, 1) else [])
    for shape, dtype, expected in (
        *((replace(plain, stride=stride), torch.float32, "stride") for stride in strides),
        (replace(plain, h=5000, w=5000, dilation=(400, 400)), torch.float32, far),
        (other, torch.float32, of_other),
        (replace(plain, groups=2), torch.float32, "groups"),
        (plain, torch.float64, "float64"),
    ):
        assert expected in explanation("forward", shape, dtype)[0], shape
    assert "forward and input gradient" in explanation("grad_weight", plain)[0]

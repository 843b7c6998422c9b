"""Sums of bfloat16 in pairs of channels, taps or pixels, as AVX-512 with BF16 forms them."""

import re
from pathlib import Path

import pytest
import torch

import torchconv
from benchmarks.machine import isa_levels
from tests.cases import Conv2dCase, case
from tests.compare import same_bits
from tests.reference import Operands, assert_accurate, random_operands, run

# Blocks of channels that would have an odd size, one pair only, sums in several chunks, phases of a
# stride, groups; each has an even number of channels on both sides.
CASES = (
    case("62 channels", 2, 62, 9, 40, 1),
    case("40 channels", 2, 40, 8, 36, 5),
    case("88 channels", 1, 88, 6, 20, 3),
    case("4 channels", 3, 4, 11, 6, 3, bias=True),
    case("6 channels", 2, 6, (5, 70), 100, 3, 2),
    case("many channels", 1, 1030, 4, 130, 1, bias=True),
    case("many channels, 3x3", 2, 208, 7, 64, 3),
    case("rows", 1, 34, (3, 130), 20, (1, 7)),
    case("stride", 2, 24, (15, 13), 58, 3, 2),
    case("stride of a pointwise layer", 2, 64, 14, 128, 1, 2),
    case("stride of four", 1, 8, (19, 33), 12, 5, 4),
    case("dilation", 1, 20, 16, 30, 3, 1, 4, 4),
    case("groups", 2, 64, 9, 48, 3, groups=4, bias=True),
    case("two channels a group", 2, 16, 9, 16, 3, groups=8),
    case("groups in a vector", 2, 32, (9, 35), 32, 3, groups=8, bias=True),
    case("groups in a vector, stride", 2, 32, (9, 13), 32, 3, 2, groups=4),
    case("groups in a vector, fewer outputs", 2, 32, 9, 16, 1, groups=4),
    case("half a vector", 2, 24, (9, 14), 24, 3, bias=True),
    case("half a vector, stride", 2, 24, (15, 13), 40, 3, 2),
    case("run of rows", 2, 32, (9, 14), 32, 3, groups=2),
    case("images", 20, 48, 3, 64, 3, bias=True),
    case("wide", 1, 64, (2, 600), 72, 1),
)
# Blocks of an odd number of channels, of which the last one is a pair with nothing: one block and
# several, steps through the columns, rows that are loaded apart, both sides odd, groups, images.
ODD = (
    case("21 channels", 2, 21, 9, 40, 1, bias=True),
    case("255 channels", 1, 255, (5, 7), 85, 1),
    case("31 channels", 3, 31, 6, 31, 1),
    case("5 channels", 2, 5, (11, 40), 48, 3, bias=True),
    case("5 outputs", 2, 48, (11, 40), 5, 3),
    case("15 channels", 2, 15, (9, 11), 45, 3, bias=True),
    case("9 of 27 channels", 1, 27, 8, 63, 3, 2),
    case("3 of 33 channels, 5x5", 2, 33, 8, 63, 5),
    case("odd, stride of a pointwise layer", 2, 75, 14, 33, 1, 3),
    case("odd, dilation", 1, 35, (16, 13), 25, 3, 1, 4, 4),
    case("odd, dilated rows far apart", 1, 7, (45, 17), 35, (2, 5), 2, (3, 4), (18, 2)),
    case("odd groups", 2, 45, (9, 8), 75, 3, groups=5, bias=True),
    case("odd images", 20, 45, 3, 65, 3),
    case("odd, one row", 1, 13, (1, 70), 91, (1, 3), 1, (0, 1)),
    case("odd, several chunks", 1, 837, 4, 27, 1),
    case("odd, wide", 1, 63, (2, 300), 99, 1),
)
# Few source channels: two taps that follow each other are a pair, of one row, of two rows or of two
# channels; the last one of an odd number is alone.
TAPS = (
    case("3 channels", 2, 3, (9, 11), 64, 3, bias=True),
    case("3 channels, short of a vector", 1, 3, (6, 37), 44, 3),
    case("1 channel", 2, 1, (7, 10), 48, 3),
    case("2 channels, 4 taps", 2, 2, (9, 13), 40, 4, 1, (2, 1, 1, 2), bias=True),
    case("5 taps", 2, 3, 12, 96, 5, 2),
    case("stem", 2, 3, (31, 29), 64, 7, 2),
    case("patches", 2, 3, 16, 32, 4, 4, 0),
    case("even rows of odd taps", 2, 3, (10, 9), 32, (2, 3)),
    case("even rows, 1 channel", 1, 1, (8, 12), 32, (4, 5), 1, (1, 2)),
    case("11 taps", 1, 3, (40, 43), 64, 11, 4, 2),
    case("dilated taps", 1, 3, (13, 18), 32, 3, 1, 2, 2),
    case("dilated rows far apart", 1, 2, (45, 17), 32, (2, 5), 2, (3, 4), (18, 2)),
    case("one row of taps", 2, 3, (4, 30), 32, (1, 6)),
    case("groups of 3", 2, 9, (8, 13), 96, 3, 2, groups=3, bias=True),
    case("groups of 1", 2, 4, 9, 128, 5, groups=4),
    case("small maps", 20, 3, 4, 64, 3),
    case("more padding than taps", 1, 2, (2, 3), 32, 3, 1, 5),
    case("taps cover the image", 3, 3, (3, 5), 64, (3, 5), 1, 0),
    case("many rows", 1, 3, (90, 70), 130, 3),
)
# Pairs of pixels: rows of one pixel and of odd lengths, columns that are read with a step or lie
# apart, a pair half in the padding, groups that are computed as one, planes of odd sizes.
PIXELS = (
    case("one column", 2, 20, (9, 1), 24, 1),
    case("odd rows", 2, 20, (6, 7), 24, 3),
    case("odd planes", 3, 36, 7, 20, 1),
    case("odd rows, stride", 2, 20, (9, 13), 24, 3, 2),
    case("pointwise, stride", 2, 20, (9, 13), 24, 1, 2),
    case("pointwise, odd stride", 1, 17, (9, 19), 8, 1, 3),
    case("pairs in the padding", 1, 16, (4, 6), 72, (3, 5), 1, (3, 5)),
    case("taps far apart", 1, 5, (20, 31), 24, 3, 1, 9, 9),
    case("groups of one channel", 2, 32, (7, 9), 32, 3, groups=32),
    case("one input channel", 2, 1, (11, 15), 40, 5),
    case("few outputs", 2, 40, (11, 15), 3, 3, 1, 1, 2),
)
SPECIAL = [torch.inf, -torch.inf, torch.nan, 3e38, -3e38, 1e-39, -1e-39, -0.0]
# Direct sums: Winograd's are formed in float32 on every level.
WINOGRAD = "off"
LEVEL = "avx512_bf16"

needs_level = pytest.mark.skipif(
    LEVEL not in isa_levels(), reason="this CPU has no AVX-512 with BF16"
)


def at(level: str, op: str, one: Conv2dCase, t: Operands, channels_last: bool) -> torch.Tensor:
    torch.ops.torchconv._force_isa(level)
    return run(op, one, t, channels_last, WINOGRAD)


def views(t: Operands) -> list[Operands]:
    """The same values in memory of other strides: filters of channels_last, of a slice, and
    everything an odd number of elements from where memory begins."""

    def sliced(x: torch.Tensor) -> torch.Tensor:
        k, c, r, s = x.shape
        wider = torch.full((k, c + 1, r, s), torch.nan, dtype=x.dtype)
        wider[:, 1:] = x
        return wider[:, 1:]

    def moved(x: torch.Tensor) -> torch.Tensor:
        memory = torch.empty(x.numel() + 1, dtype=x.dtype)
        return memory[1:].as_strided(x.size(), x.stride(), 1).copy_(x)

    last = t.weight.contiguous(memory_format=torch.channels_last)
    return [
        t,
        Operands(t.input, last, t.bias, t.grad),
        Operands(t.input, sliced(t.weight), t.bias, t.grad),
        t.map(moved),
    ]


@needs_level
@pytest.mark.parametrize("op", ["forward", "grad_input", "grad_weight"])
@pytest.mark.parametrize("one", CASES + ODD + TAPS + PIXELS, ids=lambda one: one.name)
def test_pairs_have_the_bits_of_other_levels(one, op):
    t = random_operands(one, torch.bfloat16)
    for channels_last in (False, True):
        expected = at("portable", op, one, t, channels_last)
        assert_accurate(expected, op, one)
        for index, operands in enumerate(views(t)):
            found = at(LEVEL, op, one, operands, channels_last)
            assert same_bits(found, expected), (index, channels_last)


def assert_bits_of_avx512(op: str, one: Conv2dCase, t: Operands) -> None:
    for channels_last in (False, True):
        expected = at("avx512", op, one, t, channels_last)
        for operands in views(t):
            found = at(LEVEL, op, one, operands, channels_last)
            assert same_bits(found, expected), channels_last


def special_values(one: Conv2dCase, count: int) -> Operands:
    """Operands with infinities, NaN, overflow and denormals at random places."""
    t = random_operands(one, torch.bfloat16)
    generator = torch.Generator().manual_seed(1)
    for x in (t.input, t.weight, t.grad):
        at_random = torch.randint(x.numel(), (count * len(SPECIAL),), generator=generator)
        x.view(-1)[at_random] = torch.tensor(SPECIAL * count).to(x.dtype)
    return t


@needs_level
def test_values_that_are_not_finite_or_vanish():
    """Infinity, NaN, overflow and denormals, which the instruction flushes by itself."""
    one = case("special", 2, 32, 10, 48, 3)
    t = special_values(one, 3)
    for op in ("forward", "grad_input", "grad_weight"):
        for channels_last in (False, True):
            found = at(LEVEL, op, one, t, channels_last)
            assert same_bits(found, at("avx512", op, one, t, channels_last)), (op, channels_last)


@pytest.fixture
def dense_channels():
    torch.ops.torchconv._force_algorithm("dense_channels")
    yield
    torch.ops.torchconv._force_algorithm("")


@needs_level
@pytest.mark.parametrize("op", ["forward", "grad_input"])
@pytest.mark.parametrize("one", ODD, ids=lambda one: one.name)
def test_odd_pairs_where_another_algorithm_is_chosen(one, op, dense_channels):
    """And special values in the source or the weight alone, some beside a single channel."""
    plain, special = random_operands(one, torch.bfloat16), special_values(one, 1)
    for t in (
        plain,
        Operands(special.input, plain.weight, plain.bias, special.grad),
        Operands(plain.input, special.weight, plain.bias, plain.grad),
    ):
        assert_bits_of_avx512(op, one, t)


@needs_level
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_odd_pairs_of_padding_that_repeats(mode):
    one = case("odd, padding", 2, 21, (9, 7), 40, 3)
    t = random_operands(one, torch.bfloat16)
    for channels_last in (False, True):
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        x = t.input.contiguous(memory_format=memory_format)
        found = []
        for level in (LEVEL, "portable"):
            torch.ops.torchconv._force_isa(level)
            found.append(torchconv.conv2d(x, t.weight, padding=1, padding_mode=mode))
        assert same_bits(*found)


@needs_level
@pytest.mark.parametrize("one", TAPS, ids=lambda one: one.name)
def test_pairs_of_taps_where_another_algorithm_is_chosen(one, dense_channels):
    """And special values in the input alone, in the weight alone: padding is left out or not."""
    plain, special = random_operands(one, torch.bfloat16), special_values(one, 1)
    for t in (
        plain,
        Operands(special.input, plain.weight, plain.bias, plain.grad),
        Operands(plain.input, special.weight, plain.bias, plain.grad),
    ):
        assert_bits_of_avx512("forward", one, t)


@needs_level
def test_rows_too_long_for_the_memory_that_pairs_of_taps_take(dense_channels):
    one = case("wide", 1, 3, (1, 110_000), 16, 3)
    t = random_operands(one, torch.bfloat16)
    found = at(LEVEL, "forward", one, t, True)
    assert same_bits(found, at("avx512", "forward", one, t, True))


@needs_level
@pytest.mark.parametrize("taps", [3, 5, 7])
def test_an_infinity_beside_the_last_tap_is_not_multiplied(taps, dense_channels):
    """It is another pixel's, and 0 * inf would be NaN."""
    one = case("edge", 1, 3, (taps, 2 * taps + 1), 32, taps, 1, 0)
    t = random_operands(one, torch.bfloat16)
    for column in range(one.w):
        t.input[:] = 1
        t.input[..., column] = torch.inf
        seen = torch.tensor([q <= column < q + taps for q in range(one.q)])
        for channels_last in (False, True):
            found = at(LEVEL, "forward", one, t, channels_last)
            assert found[..., ~seen].isfinite().all()
            assert not found[..., seen].isfinite().any()


@needs_level
@pytest.mark.parametrize("one", PIXELS, ids=lambda one: one.name)
def test_an_infinity_beside_the_last_pixel_of_a_row_is_not_multiplied(one):
    """Which is a pair with a gradient of zero, and 0 * inf would be NaN."""
    t = random_operands(one, torch.bfloat16)
    for column in range(one.w):
        values = t.input.clone()
        values[:, 0, :, column] = torch.inf
        operands = Operands(values, t.weight, t.bias, t.grad)
        for channels_last in (False, True):
            expected = at("avx512", "grad_weight", one, operands, channels_last)
            found = at(LEVEL, "grad_weight", one, operands, channels_last)
            assert same_bits(found, expected), (column, channels_last)


def test_a_cpu_with_the_instruction_has_the_level():
    """Which it has only where the instruction agrees with two fused steps."""
    information = Path("/proc/cpuinfo")
    flags = information.read_text() if information.exists() else ""
    if not re.search(r"\bavx512_bf16\b", flags):
        pytest.skip("this CPU has no AVX-512 with BF16")
    assert LEVEL in isa_levels()

"""The CUDA kernels, run on the CPU: against float64, and for equal bits.

See tests/cuda_host. What this cannot show is speed, and anything else that only a GPU does.
"""

from __future__ import annotations

import pytest
import torch

from tests import cuda_host
from tests.awkward import AWKWARD
from tests.cases import case, grouped, ids
from tests.compare import same_bits
from tests.cuda_host import CudaHost
from tests.kernel_host import FORMATS, NEEDS_COMPILER
from tests.reference import (
    DTYPES,
    OPS,
    Operands,
    assert_accurate,
    exact_and_magnitude,
    random_operands,
)

pytestmark = NEEDS_COMPILER

MORE = (
    # Enough pixels for several splits of every weight gradient, and whole images left over.
    grouped("splits", 3, 2, 60, 1, (3, 2)),
    grouped("splits3", 5, 2, 60, 1, 3),
    grouped("splits7", 5, 1, 60, 1, 7),
    case("splits_dense", 5, 3, 33, 2, 2),
    # Large depthwise kernels: several images in a tile, several tiles in an image, cut off rows and
    # columns, chunks of filter rows.
    grouped("large7", 2, 2, (37, 69), 1, 7, bias=True),
    grouped("large7_of_7x7", 11, 2, 7, 1, 7),
    grouped("large8", 2, 3, (9, 12), 1, 8, padding=(3, 4, 3, 4)),
    grouped("large9", 3, 2, (17, 33), 1, 9, padding=0),
    grouped("large13", 5, 2, 14, 1, 13, bias=True),
    grouped("large27", 2, 2, (20, 40), 1, 27),
    *(grouped(f"large7_q={q}", 2, 2, (9, q), 1, 7) for q in (8, 12, 14, 56)),
    grouped("large15_q=16", 2, 2, (9, 16), 1, 15),
    grouped("large32", 2, 1, (9, 70), 1, 32, padding=16),
    # Small groups that are multiplied together: as many as fill a tile, a part of them, one.
    case("groups4", 3, 16, 7, 16, 3, groups=4, bias=True),
    case("groups4_stride2", 2, 32, (9, 6), 32, 3, 2, groups=8),
    case("groups_of_2_to_3", 2, 8, 6, 12, 3, groups=4, bias=True),
    case("groups_of_5", 2, 30, 5, 30, (1, 3), groups=6, dilation=2),
    case("groups_of_2_odd", 2, 14, 6, 14, 2, groups=7),
    case("groups_of_9", 2, 18, 5, 18, 3, groups=2),
    # First layers: few channels, two tiles of filters, windows with gaps.
    case("first7", 2, 3, (21, 20), 33, 7, 2, bias=True),
    case("first3", 2, 1, (5, 70), 70, 3),
    case("first_patches", 3, 3, 16, 48, 4, 4, padding=0, bias=True),
    case("first_dilated", 1, 4, (12, 40), 17, (3, 2), (1, 3), dilation=(2, 3)),
    case("first11", 1, 3, 30, 20, 11, 4, padding=2),
    # A stride of more than 32 bits.
    case("first_huge_stride", 2, 3, 6, 17, 3, 2**40),
    grouped("depthwise_huge_stride", 2, 3, 6, 1, 3, stride=2**40),
)
# An emulated multiplication takes about a microsecond on a tensor core of 16 rows, and the larger
# ones of AWKWARD are for tiles of the CPU.
SMALL = [
    one
    for cases, most in ((AWKWARD, 2e6), (MORE, 4e6))
    for one in cases
    if one.n and one.n * one.p * one.q * one.c * one.r * one.s * max(16, one.k // one.groups) < most
]
COMBINATIONS = [(dtype, channels_last) for dtype in DTYPES for channels_last in (False, True)]


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    with CudaHost(cuda_host.build(tmp_path_factory.mktemp("cuda_host"))) as running:
        yield running


@pytest.mark.parametrize("index", range(len(SMALL)), ids=ids(SMALL))
def test_against_float64(index, program):
    """Every algorithm and operator; dtypes and layouts take turns over the cases."""
    one = SMALL[index]
    for turn, algorithm in enumerate(program.algorithms):
        for op in OPS:
            for step in (0, 3):
                dtype, channels_last = COMBINATIONS[(index + turn + step) % len(COMBINATIONS)]
                t = random_operands(one, dtype).contiguous(FORMATS[channels_last])
                found = program.compute(algorithm, op, one, t, channels_last)
                if found is not None:
                    assert_accurate(found, op, one)


def test_the_last_algorithms_take_everything(program):
    assert program.algorithms[-2:] == ["general", "reference"]
    one = case("", 1, 6, 5, 9, 3, groups=3)
    for algorithm in program.algorithms[-2:]:
        for op in OPS:
            assert program.compute(algorithm, op, one, random_operands(one, DTYPES[0])) is not None


def test_every_algorithm_takes_some_of_the_cases(program):
    """What test_against_float64 passes over without a word, it does not pass over always."""
    for algorithm in program.algorithms:
        assert any(
            program.compute(algorithm, op, one, random_operands(one, dtype)) is not None
            for one in SMALL
            for op in OPS
            for dtype in DTYPES
        ), algorithm


def test_memory_of_any_strides(program):
    """The weight of every operator may have strides of its own, none of them one."""
    one = case("", 2, 16, 6, 24, 3)
    for dtype in DTYPES:
        for channels_last in (False, True):
            t = random_operands(one, dtype).contiguous(FORMATS[channels_last])
            t.weight.set_(t.weight.permute(2, 0, 3, 1).contiguous().permute(1, 3, 0, 2))
            for algorithm in program.algorithms:
                for op in ("forward", "grad_input"):
                    found = program.compute(algorithm, op, one, t, channels_last)
                    if found is not None:
                        assert_accurate(found, op, one)


TF32 = {
    "general": case("", 2, 9, 8, 20, 3, bias=True),
    "grouped": case("", 2, 24, 8, 24, 3, groups=6, bias=True),
}


@pytest.mark.parametrize("algorithm", TF32)
def test_tf32(algorithm, program):
    """Ten bits of fraction: off by less than 2^-10 of the terms, and by more than float32 is."""
    one = TF32[algorithm]
    t = random_operands(one, torch.float32)
    for op in OPS:
        found = program.compute(algorithm, op, one, t, allow_tf32=True).double()
        value, scale = exact_and_magnitude(op, one, t)
        error = (found - value).abs()
        assert (error <= 2**-10 * scale).all()
        assert error.max() > 1e-5 * scale.max()


SAME_BITS = (
    case("dense", 5, 8, 8, 24, 3, bias=True),
    case("stride2", 5, 6, 9, 20, 3, 2),
    case("groups4", 5, 8, 9, 8, 3, groups=2),
    case("first", 5, 3, 9, 20, 5, 2, bias=True),
    grouped("depthwise", 5, 8, 9, 1, 3),
    grouped("depthwise7", 5, 8, 9, 1, 7),
    grouped("depthwise7_q=8", 5, 8, 8, 1, 7),
)


@pytest.mark.parametrize("one", SAME_BITS, ids=ids(SAME_BITS))
def test_same_bits(one, program):
    """For any batch size, at any address, and in whatever order blocks and threads run."""
    for turn, algorithm in enumerate(program.algorithms):
        for dtype, channels_last in COMBINATIONS[turn % 2 :: 2]:
            t = random_operands(one, dtype).contiguous(FORMATS[channels_last])
            for op in OPS:
                together = program.compute(algorithm, op, one, t, channels_last)
                if together is None:
                    continue
                again = program.compute(algorithm, op, one, t, channels_last, backwards=True)
                assert same_bits(together, again)
                moved = program.compute(algorithm, op, one, t, channels_last, misaligned=True)
                assert same_bits(together, moved), (algorithm, op, dtype)
                if op == "grad_weight":
                    continue
                for first, count in ((0, 1), (1, 1), (2, 3)):
                    images = slice(first, first + count)
                    some = Operands(t.input[images], t.weight, t.bias, t.grad[images])
                    alone = program.compute(
                        algorithm, op, one.with_batch(count), some, channels_last
                    )
                    assert same_bits(alone, together[images]), (algorithm, op, dtype)


# Rows of every alignment, several tiles along an axis, more planes than a tile has.
HALVES = tuple(
    grouped(f"{r}x{r}_s{stride}_{size}_{padding}", 3, 3, size, 1, r, stride=stride, padding=padding)
    for r in (3, 5)
    for stride in (1, 2)
    for size in (5, 7, 14, (9, 28), (30, 16), (5, 66), (70, 5), (6, 130))
    for padding in (None, 0, (1, 0, 2, 3))
)


@pytest.mark.parametrize("one", HALVES, ids=ids(HALVES))
def test_halves_have_the_bits_of_planes(one, program):
    t = random_operands(one, torch.bfloat16).contiguous(FORMATS[False])
    for op in OPS[:2] if one.stride == (1, 1) else OPS[:1]:
        found = program.compute("depthwise_halves", op, one, t)
        assert same_bits(found, program.compute("depthwise", op, one, t)), op


# As many blocks as make each of them take several groups of images: two stages, and one.
LOOPS = (
    grouped("two", 17, 350, 2, 1, 7, bias=True),
    grouped("one", 5, 512, (2, 3), 1, 27),
)


@pytest.mark.parametrize("one", LOOPS, ids=ids(LOOPS))
def test_looped_images_have_the_bits_of_single_ones(one, program):
    t = random_operands(one, torch.float16)
    found = program.compute("depthwise_toeplitz_images", "forward", one, t)
    assert same_bits(found, program.compute("depthwise_toeplitz", "forward", one, t))


def test_every_float16_survives(program):
    """Subnormal values too, and those that round to infinity."""
    values = torch.tensor([6e-8, 1.2e-7, 3e-6, 6e-5, -6e-8, 65504.0, 65520.0]).half()
    one = case("", 1, 1, (1, 7), 1, 1)
    t = Operands(values.reshape(1, 1, 1, -1), torch.ones(1, 1, 1, 1).half(), None, None)
    t = Operands(t.input, t.weight, None, t.input)
    for algorithm in program.algorithms:
        for op in ("forward", "grad_input"):
            found = program.compute(algorithm, op, one, t)
            assert found is None or torch.equal(found, t.input)

"""A forward pass that ends with a residual addition and an activation: in every algorithm, at every
ISA level and on any number of threads the bits of the same in two steps."""

from __future__ import annotations

import itertools

import pytest
import torch

from benchmarks.machine import ISA_LEVELS, isa_levels
from tests.awkward import AWKWARD
from tests.cases import Conv2dCase
from tests.compare import same_bits
from tests.kernels.test_same_bits import MANY_IMAGES, random_cases
from tests.reference import DTYPES, random_operands, threads
from torchconv._activations.names import LEAKY_RELU, NAMES, NONE

OPERATORS = torch.ops.torchconv
FORWARD = (
    "pointwise",
    "depthwise",
    "grouped_channels",
    "winograd_f4",
    "winograd_f2",
    "winograd_5x5",
    "winograd_stride2",
    "winograd_4x4_stride2",
    "dense_pixels",
    "dense_channels",
    "reference",
)
# Every activation, and the residual alone.
STAGES = [(number, with_residual) for number in range(len(NAMES)) for with_residual in (0, 1)][1:]


def check(shape: Conv2dCase, dtype: torch.dtype, channels_last: bool, stage: tuple[int, int]):
    """Compares the bits of one pass with those of two."""
    t = random_operands(shape, dtype, seed=shape.c)
    geometry = shape.geometry(channels_last)
    activation, with_residual = stage
    sums = OPERATORS.conv2d(t.input, t.weight, t.bias, geometry)
    residual = torch.randn_like(sums) if with_residual else None
    rest = (activation, 0.25)
    expected = OPERATORS.activate(sums, residual, *rest)
    found = OPERATORS.conv2d_activation(t.input, t.weight, t.bias, residual, geometry, *rest)
    assert found.stride() == sums.stride()
    assert same_bits(found, expected), (shape, dtype, channels_last, NAMES[activation])


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("algorithm", FORWARD)
def test_every_algorithm(algorithm, dtype, channels_last):
    OPERATORS._force_algorithm(algorithm)
    for shape, stage in zip(AWKWARD, itertools.cycle(STAGES)):
        check(shape, dtype, channels_last, stage)


@pytest.mark.parametrize("level", [isa for isa in ISA_LEVELS if isa in isa_levels()])
def test_every_level(level):
    OPERATORS._force_isa(level)
    for i, (shape, stage) in enumerate(zip(random_cases(60, seed=3), itertools.cycle(STAGES))):
        check(shape, DTYPES[i % len(DTYPES)], i % 3 == 0, stage)


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("algorithm", ["dense_channels", "pointwise"])
def test_register_tiles_that_end_with_an_activation(algorithm, dtype, channels_last):
    """With sums that are infinite or no numbers, on every level."""
    OPERATORS._force_algorithm(algorithm)
    for shape in AWKWARD:
        t = random_operands(shape, dtype, seed=shape.k)
        for i, value in enumerate((torch.inf, -torch.inf, torch.nan)):
            t.input.view(-1)[7 * i :: 611] = value
        geometry = shape.geometry(channels_last)
        sums = OPERATORS.conv2d(t.input, t.weight, t.bias, geometry)
        for level, name in itertools.product(isa_levels(), ("relu", "relu6")):
            OPERATORS._force_isa(level)
            rest = (geometry, NAMES.index(name), 0.0)
            found = OPERATORS.conv2d_activation(t.input, t.weight, t.bias, None, *rest)
            expected = OPERATORS.activate(sums, None, *rest[1:])
            assert same_bits(found, expected, any_nan=True), (shape, level, name)
        OPERATORS._force_isa("")


def test_any_number_of_threads():
    shapes = [*random_cases(60, batch=4, seed=4), *MANY_IMAGES]
    for i, (shape, stage) in enumerate(zip(shapes, itertools.cycle(STAGES))):
        for count in (1, 2, 3):
            with threads(count):
                check(shape, torch.float32, i % 2 == 0, stage)


def test_a_residual_in_another_layout():
    shape = random_cases(1)[0]
    t = random_operands(shape, torch.float32)
    geometry = shape.geometry(channels_last=True)
    sums = OPERATORS.conv2d(t.input, t.weight, t.bias, geometry)
    residual = torch.randn(sums.shape)[:, :, :, ::1].transpose(2, 3).contiguous().transpose(2, 3)
    found = OPERATORS.conv2d_activation(
        t.input, t.weight, t.bias, residual, geometry, LEAKY_RELU, 0.1
    )
    assert same_bits(found, torch.nn.functional.leaky_relu(sums + residual, 0.1))


def test_refused():
    x, weight = torch.randn(1, 2, 4, 4), torch.randn(3, 2, 1, 1)
    geometry = (1, 1, 0, 0, 0, 0, 1, 1, 1, 0)

    def call(residual=None, activation=NONE):
        OPERATORS.conv2d_activation(x, weight, None, residual, geometry, activation, 0.0)

    with pytest.raises(RuntimeError, match=r"residual must have size \(1, 3, 4, 4\)"):
        call(torch.randn(1, 3, 4, 1))
    with pytest.raises(RuntimeError, match="must have one dtype"):
        call(torch.randn(1, 3, 4, 4).double())
    for number in (-1, len(NAMES)):
        with pytest.raises(RuntimeError, match=f"no such activation: {number}"):
            call(activation=number)
    empty = torch.randn(1, 3, 4, 4)
    empty.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="the data of residual .* is not allocated"):
        call(empty)

"""Taps that only see padding are multiplied or left out, and no bit tells which it was."""

from __future__ import annotations

import itertools

import pytest
import torch

import torchconv  # noqa: F401  (registers the operators)
from benchmarks.machine import isa_levels
from tests.cases import case as build_case
from tests.cases import grouped
from tests.compare import same_bits
from tests.reference import Operands, random_operands, run

NEGATIVE_ZEROS = (
    build_case("small_maps", 5, 64, 7, 72, 3),
    build_case("few_channels", 5, 3, 9, 20, 3, bias=True),
    build_case("strided", 5, 24, 15, 17, 5, 2, padding=2),
    build_case("dilated", 5, 40, 9, 40, 3, padding=4, dilation=4),
    build_case("pointwise_strided", 5, 32, 14, 48, 1, 2, padding=1),
    build_case("groups", 5, 24, 8, 24, 3, groups=3, bias=True),
    build_case("one_group_channel", 5, 1, 12, 6, 5, padding=4),
    grouped("depthwise3", 5, 24, 9, 1, 3, bias=True),
    grouped("depthwise5_s2", 5, 17, 12, 1, 5, stride=2),
    grouped("depthwise7", 5, 6, 6, 1, 7),
    grouped("depthwise_multiplier", 5, 5, 9, 3, 3),
    grouped("depthwise_dilated", 5, 9, 11, 1, 3, dilation=3, padding=3),
)


@pytest.mark.parametrize("shape", NEGATIVE_ZEROS, ids=lambda shape: shape.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_sign_of_zero(shape, dtype):
    """Products that are too small for their type leave a zero with a sign behind. A tap of padding
    that is multiplied takes the sign away and one that is left out does not; the batch, the level,
    the layout and the algorithm may decide which it is, and must not show."""
    t = random_operands(shape, torch.float64)
    tiny = 1e-160 if dtype == torch.float64 else 1e-20
    generator = torch.Generator().manual_seed(1)

    def mixed(x):  # tiny, most of it negative, with zeros of either sign among them
        x = -x.abs() * tiny
        x[torch.rand(x.shape, generator=generator) < 0.2] *= -1
        return (x * (torch.rand(x.shape, generator=generator) < 0.9)).to(dtype)

    t = Operands(
        mixed(t.input),
        mixed(t.weight),
        None if t.bias is None else torch.full_like(t.bias, -0.0, dtype=dtype),
        mixed(t.grad),
    )
    for op in ("forward", "grad_input"):
        torch.ops.torchconv._force_algorithm("reference")
        expected = run(op, shape, t)
        torch.ops.torchconv._force_algorithm("")
        assert not expected.any()
        for level in isa_levels():
            torch.ops.torchconv._force_isa(level)
            for channels_last in (False, True):
                for batch in (1, shape.n):
                    part = Operands(t.input[:batch], t.weight, t.bias, t.grad[:batch])
                    found = run(op, shape.with_batch(batch), part, channels_last, "off")
                    assert same_bits(found, expected[:batch]), (op, level, channels_last, batch)
        torch.ops.torchconv._force_isa("")


@pytest.mark.parametrize("op", ["forward", "grad_input"])
@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
def test_a_weight_that_is_not_finite_meets_the_padding(op, channels_last):
    """Padding may be left out only where that changes nothing: zero times infinity is not zero."""
    shapes = [
        build_case("few_channels", 3, 6, 14, 7, 5),
        build_case("unpadded", 3, 6, 14, 16, 5, padding=0),
        build_case("much_padding", 2, 5, (9, 13), 7, 9, 2, padding=5),
        build_case("many_channels", 2, 33, 7, 40, 3),
        build_case("weights_packed_by_each_job", 1, 176, 4, 176, 3),
        grouped("depthwise_48", 2, 48, 7, 1, 3),
        grouped("depthwise_48_stride2", 2, 48, 8, 1, 5, stride=2),
        grouped("depthwise_planes", 2, 5, (6, 33), 1, 5),
        grouped("depthwise_small_planes", 2, 5, (3, 9), 1, 3),
    ]
    values = (torch.nan, torch.inf, -torch.inf)
    for shape in shapes:
        for value, dtype in itertools.product(values, (torch.float32, torch.bfloat16)):
            t = random_operands(shape, dtype)
            t.weight[-1, -1, 0, -1] = value
            found = run(op, shape, t, channels_last, "off")
            torch.ops.torchconv._force_algorithm("reference")
            expected = run(op, shape, t, channels_last)
            torch.ops.torchconv._force_algorithm("")
            assert same_bits(found, expected, any_nan=True), (value, dtype, shape)

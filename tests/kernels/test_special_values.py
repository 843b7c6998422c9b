"""Infinities at every edge of an operand and denormal numbers, by value: neither needs a clock."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

import torchconv  # noqa: F401  (registers the operators)
from benchmarks.machine import isa_levels
from tests.cases import case, grouped, ids
from tests.reference import OPS, Operands, exact, random_operands, run, threads

LAYOUTS = pytest.mark.parametrize(
    "channels_last", [False, True], ids=["contiguous", "channels_last"]
)


# Padded and not, in vectors of pixels and of channels; dense ones with few and with many sums for
# each tap, which leave out what only sees padding.
SHAPES = (
    grouped("depthwise_5", 2, 5, (6, 9), 1, 3),
    grouped("depthwise_16", 2, 16, (6, 7), 1, 3),
    grouped("depthwise_16_unpadded", 2, 16, (6, 7), 1, 3, padding=0),
    grouped("depthwise_3_unpadded", 2, 3, (6, 19), 1, 3, padding=0),
    grouped("depthwise_24_stride2", 2, 24, (7, 8), 1, 5, stride=2),
    grouped("depthwise_24_stride2_unpadded", 2, 24, (7, 8), 1, 3, stride=2, padding=0),
    grouped("depthwise_7x7", 2, 16, (6, 9), 1, 7),
    grouped("depthwise_64", 2, 64, (6, 9), 1, 3),
    grouped("depthwise_dilated", 2, 16, (7, 9), 1, 3, dilation=2),
    grouped("depthwise_wide", 2, 2, (4, 40), 1, 3),
    grouped("depthwise_wide_unpadded", 2, 2, (4, 40), 1, 3, padding=0),
    grouped("multiplier", 2, 6, (5, 7), 2, 3),
    grouped("multiplier_3", 2, 7, (5, 7), 3, 3),
    case("few_channels", 2, 3, (5, 8), 5, 3),
    case("many_channels", 2, 48, (5, 6), 48, 3),
    case("many_channels_unpadded", 2, 48, (5, 6), 48, 3, padding=0),
    case("many_channels_stride2", 2, 64, (6, 5), 40, 3, 2),
    case("many_channels_dilated", 2, 40, (6, 7), 64, 3, dilation=2),
    case("pointwise_padded", 2, 48, (3, 4), 48, 1, padding=1),
    case("groups", 2, 8, (5, 6), 8, 3, groups=2),
    case("groups_in_a_vector", 2, 16, (5, 6), 16, 3, groups=4),
    case("groups_in_a_vector_stride2", 2, 20, (7, 5), 20, 3, 2, groups=5),
)


def edges(size: tuple[int, ...]) -> list[tuple[int, int]]:
    """The corners of an image and a pixel of each of its sides."""
    rows, columns = ({0, extent // 2, extent - 1} for extent in size[2:])
    return sorted(set(itertools.product(rows, columns)) - {(size[2] // 2, size[3] // 2)})


@LAYOUTS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=ids(SHAPES))
def test_an_infinity_at_an_edge(shape, dtype, channels_last):
    """One of the input reaches the outputs that see its pixel and no other. So does one of grad; in
    the weight gradient it also meets the padding: infinity times zero is NaN."""
    ordinary = random_operands(shape, torch.float64).map(lambda x: x.abs() + 0.1)
    for name, ops in (("input", OPS[::2]), ("grad", OPS[1:])):
        whole = getattr(ordinary, name)
        for row, column in edges(whole.shape):
            special = whole.clone()
            special[-1, -1, row, column] = torch.inf
            t = replace(ordinary, **{name: special})
            low = t.map(lambda x: x.to(dtype))
            for op in ops:
                found = run(op, shape, low, channels_last, "off").double()
                expected = exact(op, shape, t)
                where = (op, name, row, column)
                finite = expected.isfinite()
                assert torch.equal(found.isfinite(), finite), where
                assert torch.equal(found.isnan(), expected.isnan()), where
                assert torch.equal(found[expected.isinf()], expected[expected.isinf()]), where


@pytest.mark.parametrize("size", [(6, 9), (5, 2)], ids=["long_rows", "short_rows"])
def test_nan_in_pairs_of_blocks_of_channels(size):
    """Whatever its payload it becomes the quiet NaN 0x7fc0, in its own channel alone; so do the
    products of an infinite weight and the zeros of padding."""
    shape = grouped("depthwise_80", 1, 80, size, 1, 3)
    ordinary = random_operands(shape, torch.bfloat16)
    nan = ordinary.input.view(torch.int16).clone()
    nan[0, 6, 2, 1], nan[0, 37, 2, 1] = 0x7FFF, -1
    infinite = ordinary.weight.clone()
    infinite[40, 0, 0, 0] = torch.inf
    inputs = replace(ordinary, input=nan.view(torch.bfloat16))
    for t in (inputs, replace(ordinary, weight=infinite)):
        found = run("forward", shape, t, True, "off")
        expected = exact("forward", shape, t.map(torch.Tensor.double))
        assert torch.equal(found.isnan(), expected.isnan())
        assert set(found[found.isnan()].view(torch.int16).tolist()) == {0x7FC0}


PLAIN = (
    case("3x3", 2, 16, 9, 20, 3, bias=True),
    case("few_channels", 2, 3, 9, 5, 3, bias=True),
    case("1x1", 2, 33, 7, 20, 1, bias=True),
    case("strided", 2, 9, 11, 12, 5, 2, bias=True),
    case("groups", 2, 12, 8, 12, 3, groups=3, bias=True),
    case("groups_in_a_vector", 2, 16, 8, 16, 3, groups=4, bias=True),
    grouped("depthwise", 2, 16, 9, 1, 3, bias=True),
    grouped("depthwise_wide", 2, 3, (6, 40), 1, 5, bias=True),
    grouped("depthwise_stride2", 2, 16, 9, 1, 3, stride=2, bias=True),
    case("on_every_thread", 4, 32, 14, 32, 3, bias=True),
)
DENORMAL = {torch.float32: (1e-40, 1e30), torch.bfloat16: (1e-40, 1e30),
            torch.float64: (1e-310, 1e300)}  # fmt: skip


@LAYOUTS
@pytest.mark.parametrize("dtype", DENORMAL, ids=str)
@pytest.mark.parametrize("shape", PLAIN, ids=ids(PLAIN))
def test_denormal_operands_are_zeros(shape, dtype, channels_last):
    """1e-40 times 1e30 is 1e-10, were the first not taken for 0 as promised: at every level, on
    every thread, and whichever operand it is."""
    small, large = DENORMAL[dtype]

    def full(size, value):
        return torch.full(size, value, dtype=dtype)

    sizes = {"input": shape.input_size, "weight": shape.weight_size, "grad": shape.output_size}
    used = {"forward": ("input", "weight"), "grad_input": ("grad", "weight"),
            "grad_weight": ("grad", "input")}  # fmt: skip
    for op in OPS:
        for denormal in used[op]:
            values = {n: full(s, small if n == denormal else large) for n, s in sizes.items()}
            assert getattr(Operands(bias=None, **values), denormal).all()  # not zeros already
            t = Operands(bias=full((shape.k,), small), **values)
            for level in isa_levels():
                torch.ops.torchconv._force_isa(level)
                for count in (1, 3):
                    with threads(count):
                        found = run(op, shape, t, channels_last)
                    assert not found.any(), (op, denormal, level, count)


@LAYOUTS
@pytest.mark.parametrize("dtype", DENORMAL, ids=str)
def test_denormal_gradients_of_the_bias_are_zeros(dtype, channels_last):
    """A sum of 2^17 of them would be an ordinary number."""
    shape = case("", 2, 1, (256, 256), 2, 1)
    t = random_operands(shape, torch.float32).map(lambda x: x.to(dtype))
    t = replace(t, grad=torch.full(shape.output_size, DENORMAL[dtype][0], dtype=dtype))
    geometry = shape.geometry(channels_last)
    assert t.grad.double().sum() > torch.finfo(dtype).tiny
    for level in isa_levels():
        torch.ops.torchconv._force_isa(level)
        found = torch.ops.torchconv.conv2d_backward(
            t.grad, t.input, None, shape.weight_size, geometry, True
        )
        assert not found[2].any() and not found[1].any(), level


@LAYOUTS
@pytest.mark.parametrize("level", isa_levels())
def test_sums_are_rounded_to_one_nan(level, channels_last):
    """Whatever its sign and payload in the input, in whole vectors and in parts of one."""
    torch.ops.torchconv._force_isa(level)
    for channels in (5, 8, 16, 24, 40, 48, 64, 96):
        shape = case("1x1", 2, 16, 5, channels, 1)
        t = random_operands(shape, torch.bfloat16)
        t.input.view(torch.int16)[:, 3, 1, 2:4] = torch.tensor([0x7F85, -0x3F])  # -0x3f: 0xffc1
        found = run("forward", shape, t, channels_last)
        assert (found[:, :, 1, 2:4].contiguous().view(torch.int16) == 0x7FC0).all(), channels
        assert found.isnan().sum() == 2 * channels * 2, channels

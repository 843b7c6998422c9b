"""The operator that gives all gradients of a layer at once, and the gradient of the bias in it."""

import pytest
import torch

import torchconv
from benchmarks.machine import ISA_LEVELS, isa_levels
from tests.awkward import AWKWARD
from tests.cases import case, ids
from tests.compare import same_bits
from tests.reference import DTYPES, random_operands, run, threads

FORMATS = {False: torch.contiguous_format, True: torch.channels_last}

# Long planes, several chunks of pixels, few and many channels, one channel, one pixel.
SUMS = (
    case("long_planes", 2, 1, (150, 151), 3, 1, bias=True),
    case("few_channels", 3, 1, (160, 170), 6, 1, bias=True),
    case("one_channel", 3, 2, (111, 160), 1, 1, bias=True),
    case("many_channels", 5, 1, (13, 17), 300, 1, bias=True),
    case("one_channel_two_chunks", 1, 1, (257, 256), 1, 1, bias=True),
    case("one_pixel", 1200, 1, 1, 100, 1, bias=True),
)


def backward(shape, t, channels_last, weight=True, bias=True):
    return torch.ops.torchconv.conv2d_backward.default(
        t.grad, t.input, t.weight if weight else None, shape.weight_size,
        shape.geometry(channels_last), bias,
    )  # fmt: skip


def in_format(shape, dtype, channels_last, seed=0):
    return random_operands(shape, dtype, seed).contiguous(FORMATS[channels_last])


@pytest.mark.parametrize("channels_last", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_same_bits_as_one_by_one(dtype, channels_last):
    for shape in AWKWARD:
        t = in_format(shape, dtype, channels_last)
        grad_input, grad_weight, _ = backward(shape, t, channels_last)
        assert same_bits(grad_input, run("grad_input", shape, t, channels_last)), shape.name
        assert same_bits(grad_weight, run("grad_weight", shape, t, channels_last)), shape.name
        assert grad_input.is_contiguous(memory_format=FORMATS[channels_last])


@pytest.mark.parametrize("channels_last", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bias_against_float64(dtype, channels_last):
    for shape in SUMS + AWKWARD:
        assert_bias_accurate(shape, in_format(shape, dtype, channels_last), channels_last)


def assert_bias_accurate(shape, t, channels_last):
    dtype = t.grad.dtype
    found = backward(shape, t, channels_last, weight=False)[2]
    exact, magnitude = t.grad.double().sum((0, 2, 3)), t.grad.double().abs().sum((0, 2, 3))
    accumulated = torch.float64 if dtype == torch.float64 else torch.float32
    count = shape.n * shape.p * shape.q
    tolerance = magnitude * torch.finfo(accumulated).eps * (2 + count**0.5 / 8)
    if dtype != accumulated:
        tolerance += exact.abs() * torch.finfo(dtype).eps / 2 * 1.01
    assert found.dtype == dtype and found.shape == (shape.k,)
    assert ((found.double() - exact).abs() <= tolerance).all(), (shape, channels_last)


@pytest.mark.parametrize("channels_last", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SUMS, ids=ids(SUMS))
def test_bias_has_the_same_bits_everywhere(shape, dtype, channels_last):
    t = in_format(shape, dtype, channels_last)
    with threads(1):
        expected = backward(shape, t, channels_last, weight=False)[2]
    assert len(isa_levels()) > 1, f"only one of {ISA_LEVELS}"
    try:
        for level in isa_levels():
            torch.ops.torchconv._force_isa(level)
            found = backward(shape, t, channels_last, weight=False)[2]
            assert same_bits(found, expected), level
        for count in (2, 5):
            with threads(count):
                found = backward(shape, t, channels_last, weight=False)[2]
            assert same_bits(found, expected), count
    finally:
        torch.ops.torchconv._force_isa("")


def test_what_is_not_wanted_is_empty():
    shape = SUMS[1]
    t = in_format(shape, torch.float32, False)
    sizes = [tuple(x.shape) for x in backward(shape, t, False, weight=False, bias=False)]
    assert sizes == [(0,), shape.weight_size, (0,)]


def test_no_images():
    shape = case("no_images", 0, 3, 5, 4, 3, bias=True)
    t = in_format(shape, torch.float32, False)
    grad_input, grad_weight, grad_bias = backward(shape, t, False)
    assert grad_input.shape == (0, 3, 5, 5)
    assert not grad_weight.any() and not grad_bias.any() and grad_bias.shape == (4,)


def test_a_grad_of_another_memory_format():
    shape = SUMS[3]
    t, other = (in_format(shape, torch.float32, last) for last in (False, True))
    for found, expected in zip(
        backward(shape, other, False), backward(shape, t, False), strict=True
    ):
        assert same_bits(found, expected)


@pytest.mark.parametrize("pixels", [2**15 - 1, 2**15, 2**15 + 1, 2**16 + 1])
@pytest.mark.parametrize("derivative_wanted", [False, True])
def test_bias_of_one_channel_on_any_number_of_threads(pixels, derivative_wanted):
    """ATen splits a sum to one number by threads from 2^15 terms on."""
    weight, bias = torch.randn(1, 1, 1, 1), torch.zeros(1, requires_grad=True)
    input, grad = torch.randn(1, 1, 1, pixels), torch.randn(1, 1, 1, pixels, requires_grad=True)
    found = []
    for count in (1, 2, 3, 5):
        with threads(count):
            output = torchconv.conv2d(input, weight, bias)
            found += torch.autograd.grad(output, bias, grad, create_graph=derivative_wanted)
    for other in found[1:]:
        assert same_bits(other, found[0])
    torch.testing.assert_close(found[0].double(), grad.double().sum()[None], rtol=0, atol=1e-2)

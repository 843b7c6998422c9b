"""The operators that compute convolutions of one shape in one call, each with operands of its own:
the bits of as many calls, whatever the threads, the instruction set and the places of the operands.
"""

from __future__ import annotations

import pytest
import torch

import torchconv  # noqa: F401  (registers the operators)
from benchmarks.machine import isa_levels
from tests.awkward import AWKWARD
from tests.cases import Conv2dCase, case, grouped, ids
from tests.compare import assert_near, same_bits
from tests.kernels.each.calls import call
from tests.reference import DTYPES, OPS, exact, random_operands, run, threads

FORMATS = {False: torch.contiguous_format, True: torch.channels_last}
LAYOUTS = pytest.mark.parametrize("channels_last", FORMATS, ids=["contiguous", "channels_last"])

# Alone above the work that wakes another thread, with several stages, and with one.
LARGE = (
    case("dense", 1, 24, 20, 40, 3, bias=True),
    case("winograd", 2, 32, 28, 32, 3),
    case("pointwise", 1, 64, 14, 80, 1, bias=True),
    case("stride_groups", 2, 32, 17, 32, 3, stride=2, groups=4),
    grouped("depthwise", 1, 40, 30, 1, 5, bias=True),
    case("first", 1, 3, 40, 16, 7, stride=2, bias=True),
    case("full_image", 2, 24, (5, 6), 64, (5, 6), padding=0, bias=True),
    case("tiny", 1, 2, 4, 3, 3, bias=True),
)


def operands(shape: Conv2dCase, dtype: torch.dtype, count: int, channels_last: bool):
    """Those of each convolution."""
    return [
        random_operands(shape, dtype, seed).contiguous(FORMATS[channels_last])
        for seed in range(count)
    ]


def stacked(each, name: str):
    """[B, ...], each dense as it was."""
    tensors = [getattr(t, name) for t in each]
    if tensors[0] is None:
        return None
    return torch.stack(tensors) if tensors[0].dim() < 4 else dense_stack(tensors)


def dense_stack(tensors):
    one = tensors[0]
    size, strides = (len(tensors), *one.shape), (one.numel(), *one.stride())
    result = torch.empty_strided(size, strides, dtype=one.dtype)
    return result.copy_(torch.stack(tensors))


def all_of(each):
    return [stacked(each, name) for name in ("input", "weight", "bias", "grad")]


def one_by_one(op: str, shape: Conv2dCase, each, channels_last: bool):
    return torch.stack([run(op, shape, t, channels_last) for t in each])


def assert_the_same(op, shape, tensors, expected, channels_last):
    found = call(op, shape, *tensors, channels_last)
    assert same_bits(found, expected), (op, shape.name)
    assert found[0].is_contiguous(memory_format=FORMATS[channels_last])


@LAYOUTS
def test_the_bits_of_as_many_calls(channels_last):
    for index, shape in enumerate(AWKWARD):
        each = operands(shape, DTYPES[index % len(DTYPES)], 3, channels_last)
        for op in OPS:
            expected = one_by_one(op, shape, each, channels_last)
            assert_the_same(op, shape, all_of(each), expected, channels_last)


@LAYOUTS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", LARGE, ids=ids(LARGE))
def test_the_same_bits_on_any_threads_at_any_level(shape, dtype, channels_last):
    """Five are shared by two threads, and the last one is computed by both."""
    each = operands(shape, dtype, 5, channels_last)
    tensors = all_of(each)
    for op in OPS:
        with threads(1):
            expected = one_by_one(op, shape, each, channels_last)
        for count in (1, 2, 3):
            with threads(count):
                assert_the_same(op, shape, tensors, expected, channels_last)
        for level in isa_levels():
            torch.ops.torchconv._force_isa(level)
            assert_the_same(op, shape, tensors, expected, channels_last)
        torch.ops.torchconv._force_isa("")


def test_many_more_than_threads():
    shape = LARGE[-1]
    each = operands(shape, torch.float32, 100, False)
    for op in OPS:
        with threads(3):
            assert_the_same(op, shape, all_of(each), one_by_one(op, shape, each, False), False)


def places(tensor):
    """The same values elsewhere: at an odd offset among NaN, with gaps, with B not in front."""
    buffer = torch.full((2 * tensor.numel() + 80,), torch.nan, dtype=tensor.dtype)
    step, *strides = tensor.stride()
    with_gaps = buffer.as_strided(tensor.shape, (step + 1, *strides), 3).copy_(tensor)
    return with_gaps, tensor.movedim(0, 1).contiguous().movedim(1, 0)


@LAYOUTS
def test_operands_anywhere(channels_last):
    """Also in the other memory format, and weights with any strides."""
    for shape in LARGE[:1] + LARGE[5:]:
        each = operands(shape, torch.float32, 3, channels_last)
        tensors, others = all_of(each), all_of(operands(shape, torch.float32, 3, not channels_last))
        moved = [places(x) if x is not None else (None, None) for x in tensors]
        for op in OPS:
            expected = one_by_one(op, shape, each, channels_last)
            for given in (*zip(*moved, strict=True), others):
                found = call(op, shape, *given, channels_last)
                if op != "grad_weight" and given is others and shape.name == "full_image":
                    assert_near(found, expected)  # as separate calls, by the weight's format
                else:
                    assert same_bits(found, expected), (op, shape.name)


def test_one_operand_for_all():
    shape = LARGE[0]
    one = random_operands(shape, torch.float32)
    tensors = [x.expand(3, *x.shape) for x in (one.input, one.weight, one.bias, one.grad)]
    for op in OPS:
        expected = run(op, shape, one).expand(3, -1, -1, -1, -1)
        assert same_bits(call(op, shape, *tensors), expected)


@pytest.mark.parametrize("size", [(0, 2), (3, 0), (0, 0)], ids=str)
def test_nothing_to_compute(size):
    batch, n = size
    shape = case("empty", n, 4, (5, 6), 6, 3, groups=2)
    tensors = [
        torch.ones(batch, *one)
        for one in (shape.input_size, shape.weight_size, (6,), shape.output_size)
    ]
    for op, one in zip(OPS, (shape.output_size, shape.input_size, shape.weight_size), strict=True):
        found = call(op, shape, *tensors)
        assert found.shape == (batch, *one) and not found.any()
    input, _, _, grad = tensors
    found = torch.ops.torchconv._grad_weight_squares(
        grad, input, shape.weight_size, shape.geometry(False)
    )
    assert found.shape == (batch,) and not found.any()


@LAYOUTS
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_squares_of_weight_gradients(dtype, channels_last):
    for shape in LARGE:
        each = operands(shape, dtype, 5, channels_last)
        input, _, _, grad = all_of(each)
        arguments = grad, input, shape.weight_size, shape.geometry(channels_last)
        found = []
        for count in (1, 2, 3):
            with threads(count):
                found.append(torch.ops.torchconv._grad_weight_squares(*arguments))
        assert same_bits(found[0], found[1]) and same_bits(found[0], found[2])
        expected = [exact("grad_weight", shape, t).square().sum() for t in each]
        tolerance = 1e-12 if dtype == torch.float64 else 3e-3 if dtype.itemsize == 2 else 1e-5
        assert_near(found[0], torch.stack(expected), tolerance)

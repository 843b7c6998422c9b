"""Winograd's algorithms, forced: errors within limits, the same bits in any batch, layout, level
and number of threads, at every size and padding, in every dtype."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import pytest
import torch
import torch.nn.functional as F

import torchconv  # noqa: F401  (registers the operators)
from benchmarks.machine import isa_levels
from tests.cases import Conv2dCase, case, ids
from tests.compare import same_bits
from tests.kernels.winograd.algorithms import (
    GATHERS,
    KERNELS,
    LIMITS,
    WITHOUT_STRIDE,
    both_layouts,
    errors,
    every_algorithm,
    every_gather,
    explanation,
    random_cases,
    with_kernel,
)
from tests.reference import Operands, exact, exact_and_magnitude, random_operands, run, threads

without_stride = pytest.mark.parametrize("algorithm", WITHOUT_STRIDE)


@pytest.fixture(autouse=True)
def _forced(request):
    if "algorithm" in request.fixturenames:
        torch.ops.torchconv._force_algorithm(request.getfixturevalue("algorithm"))


LAYERS = (
    case("64", 2, 64, 28, 64, 3),
    case("128", 2, 128, 14, 128, 3),
    case("256", 2, 256, 14, 256, 3),
    case("512", 2, 512, 7, 512, 3),
    case("512_to_64", 3, 512, 10, 64, 3),
    case("64_to_512", 3, 64, 10, 512, 3),
    case("256_dilated", 2, 256, 21, 128, 3, dilation=(2, 3)),
)


@lru_cache(maxsize=1)  # the two layouts of a test follow one another
def expected_of(op: str, shape: Conv2dCase) -> tuple[Operands, torch.Tensor]:
    t = random_operands(shape, torch.float32)
    return t, exact(op, shape, t)


@both_layouts
@every_gather
@every_algorithm
@pytest.mark.parametrize("shape", LAYERS, ids=ids(LAYERS))
def test_errors(shape, algorithm, op, channels_last):
    shape = with_kernel(shape, algorithm)
    t, expected = expected_of(op, shape)
    assert explanation(op, shape)[0] == f"{algorithm}: forced, runs"
    rms, largest = errors(run(op, shape, t, channels_last), expected)
    assert rms < LIMITS[algorithm][0] and largest < LIMITS[algorithm][1], (rms, largest)


@every_gather
@without_stride
def test_one_large_pixel_among_small_ones(algorithm, op):
    """Its tiles have errors relative to it, and all others to their own size."""
    shape = with_kernel(case("", 1, 64, 28, 64, 3), algorithm)
    t = random_operands(shape, torch.float32)
    source = (t.input if op == "forward" else t.grad).mul_(1e-2)
    source[:, :, 13, 13] *= 1e6
    found, value = run(op, shape, t), exact(op, shape, t)
    rms, largest = errors(found, value)
    # Few pixels make the rms: a larger part of these sums is one product.
    assert rms < LIMITS[algorithm][0] and largest < 10 * LIMITS[algorithm][1], (rms, largest)
    for part in (slice(0, 8), slice(20, 28)):  # rows of tiles that do not see it
        rms, largest = errors(found[:, :, part], value[:, :, part])
        assert rms < LIMITS[algorithm][0] and largest < LIMITS[algorithm][1], (rms, largest)


@every_algorithm
def test_any_size_and_padding(algorithm):
    for index, shape in enumerate(random_cases(algorithm, 60, seed=1)):
        t = random_operands(shape, torch.float32, seed=index)
        for op in GATHERS:
            value, magnitude = exact_and_magnitude(op, shape, t)
            found = run(op, shape, t, index % 2 == 1)
            assert found.shape == value.shape
            # A tile's errors are relative to its largest products.
            assert (found.double() - value).abs().max() <= 3e-6 * magnitude.max(), (op, shape)


@every_gather
@every_algorithm
def test_any_batch_and_layout(algorithm, op):
    """A sample has the same bits in any batch, at any place in it, in both layouts."""
    shapes = [
        *random_cases(algorithm, 25, seed=2, batch=9),
        # Weights that are transformed by jobs; more than one group of tiles.
        with_kernel(case("", 9, 512, 7, 512, 3), algorithm),
        with_kernel(case("", 40, 64, 8, 64, 3), algorithm),
        # Jobs that go by blocks of source channels.
        with_kernel(case("", 16, 160, 14, 70, 3), algorithm),
    ]
    for index, shape in enumerate(shapes):
        t = random_operands(shape, torch.float32, seed=index)
        together = run(op, shape, t)
        assert same_bits(run(op, shape, t, True), together), shape
        for begin, end in ((0, 1), (4, 5), (shape.n - 1, shape.n), (1, 4)):
            part = Operands(t.input[begin:end], t.weight, t.bias, t.grad[begin:end])
            found = run(op, shape.with_batch(end - begin), part, index % 2 == 1)
            assert same_bits(found, together[begin:end]), (begin, end, shape)


@every_gather
@every_algorithm
def test_any_number_of_threads_and_level(algorithm, op):
    shapes = random_cases(algorithm, 25, seed=3)
    some = LAYERS[1:4] if algorithm == "winograd_f4" else LAYERS[1:2]
    for shape in (*some, case("", 5, 48, 28, 40, 3)):
        shapes.append(with_kernel(shape, algorithm))
    for index, shape in enumerate(shapes):
        t = random_operands(shape, torch.float32, seed=index)
        channels_last = index % 2 == 1
        expected = run(op, shape, t, channels_last)
        for level in isa_levels():
            torch.ops.torchconv._force_isa(level)
            for count in (1, 3):
                with threads(count):
                    found = run(op, shape, t, channels_last)
                assert same_bits(found, expected), (level, count, shape)
        torch.ops.torchconv._force_isa("")


@both_layouts
@every_gather
@every_algorithm
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_types_are_float32_inside(dtype, algorithm, op, channels_last):
    """The result is that of the widened operands, rounded once."""
    for index, shape in enumerate(random_cases(algorithm, 25, seed=4)):
        t = random_operands(shape, dtype, seed=index)
        expected = run(op, shape, t.map(torch.Tensor.float), channels_last).to(dtype)
        assert same_bits(run(op, shape, t, channels_last), expected), shape


@every_gather
@every_algorithm
def test_weights_of_any_strides(algorithm, op):
    for index, shape in enumerate(random_cases(algorithm, 12, seed=5)):
        t = random_operands(shape, torch.float32, seed=index)
        expected = run(op, shape, t)
        w = t.weight
        k, c = w.shape[:2]
        r, s, _ = KERNELS[algorithm]
        wide = torch.randn(2 * k, c + 3, r + 1, s + 2)
        wide[::2, 1:-2, :r, 1:-1] = w
        for strided in (
            w.contiguous(memory_format=torch.channels_last),
            w.transpose(0, 1).contiguous().transpose(0, 1),
            w.permute(3, 2, 0, 1).contiguous().permute(2, 3, 1, 0),
            w.flip(2, 3).contiguous().flip(2, 3),
            wide[::2, 1:-2, :r, 1:-1],
        ):
            assert torch.equal(strided, w)
            assert same_bits(run(op, shape, replace(t, weight=strided)), expected), shape


@both_layouts
@every_gather
@every_algorithm
@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan], ids=str)
def test_what_is_not_finite_is_not_lost(value, algorithm, op, channels_last):
    """It reaches every element of the result that sees it, perhaps as NaN, beside them only those
    of their tiles, and no other image."""
    shape = with_kernel(case("", 3, 20, (9, 11), 24, 3), algorithm)
    r, s, stride = KERNELS[algorithm]
    t = random_operands(shape, torch.float32)
    ordinary = run(op, shape, t, channels_last)
    tall, wide = max(5, r - 1), max(5, s - 1)  # what tiles see, at most
    source = t.input if op == "forward" else t.grad
    for row, column in ((0, 0), (3, 4), (4, 3), (8, 10), (5, 6)):
        kept = source[1, 7, row, column].clone()
        source[1, 7, row, column] = value
        found, expected = run(op, shape, t, channels_last), exact(op, shape, t)
        source[1, 7, row, column] = kept
        assert same_bits(found[::2], ordinary[::2])
        seen = ~expected.isfinite()
        assert seen[1].any() and not found[seen].isfinite().any(), (row, column)
        if stride == (1, 1):
            far = torch.ones(found.shape[2:], dtype=torch.bool)
            far[max(0, row - tall) : row + tall + 1, max(0, column - wide) : column + wide + 1] = 0
            assert same_bits(found[1][:, far], ordinary[1][:, far])
    t.weight[5, 7, -1, -1] = value
    channel = 5 if op == "forward" else 7
    seen = ~exact(op, shape, t).isfinite()
    assert seen[:, channel].any()
    assert not run(op, shape, t, channels_last)[seen].isfinite().any()


@both_layouts
@every_gather
@without_stride
def test_a_dilation_parts_an_image(algorithm, op, channels_last):
    """What is not finite reaches no pixel that a dilation of (2, 3) does not take to it."""
    shape = with_kernel(case("", 2, 17, (13, 14), 20, 3, dilation=(2, 3)), algorithm)
    assert explanation(op, shape)[0] == f"{algorithm}: forced, runs"
    t = random_operands(shape, torch.float32)
    ordinary = run(op, shape, t, channels_last)
    source = t.input if op == "forward" else t.grad
    source[1, 7, 6, 4] = torch.nan
    found, seen = run(op, shape, t, channels_last), exact(op, shape, t).isnan()
    assert same_bits(found[0], ordinary[0])
    assert seen[1].any() and found[seen].isnan().all()
    r, s, _ = KERNELS[algorithm]
    other = torch.ones(found.shape[2:], dtype=torch.bool)
    other[slice(0, None, 2) if r > 1 else 6, slice(1, None, 3) if s > 1 else 4] = False
    assert same_bits(found[1][:, other], ordinary[1][:, other])


@both_layouts
@every_gather
@every_algorithm
def test_zeros_are_positive(algorithm, op, channels_last):
    shape = with_kernel(case("", 2, 17, 6, 18, 3), algorithm)
    t = random_operands(shape, torch.float32)
    for zero in (0.0, -0.0):
        nothing = t.map(lambda x, zero=zero: torch.full_like(x, zero))
        for weight in (t.weight, nothing.weight):
            found = run(op, shape, replace(nothing, weight=weight, bias=None), channels_last)
            assert same_bits(found, torch.zeros_like(found))


@every_algorithm
def test_denormals_are_no_cliff_and_no_error(algorithm):
    shape = with_kernel(case("", 1, 32, 12, 32, 3), algorithm)
    t = random_operands(shape, torch.float32)
    tiny = replace(t, weight=t.weight * 1e-42)
    found = run("forward", shape, tiny)
    torch.testing.assert_close(
        found,
        F.conv2d(t.input, tiny.weight, None, shape.stride, shape.torch_padding),
        rtol=0,
        atol=1e-38,
    )

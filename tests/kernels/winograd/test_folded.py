"""Input gradients where padding repeats elements of the input, by Winograd's algorithms: errors
within limits, the same bits in any batch, layout, level and number of threads, at every size and
padding."""

from __future__ import annotations

import random

import pytest
import torch

import torchconv  # noqa: F401  (registers the operators)
from benchmarks.machine import isa_levels
from tests.cases import Conv2dCase, case, ids
from tests.compare import same_bits
from tests.kernels.padding.test_padding_modes import MODES, fits, grad_input, run
from tests.kernels.winograd.algorithms import (
    FOLDED,
    both_layouts,
    errors,
    explanation,
    with_kernel,
)
from tests.reference import Operands, random_operands, threads

LIMITS = (1.2e-6, 1.5e-5)  # as of the algorithms with zeros as padding
LAYERS = (
    case("64", 3, 64, 28, 64, 3),
    case("several_groups_of_an_image", 2, 48, (41, 44), 40, 3),
    case("several_images_of_a_group", 9, 128, 7, 64, 3),
    case("the_source_first", 3, 256, 14, 192, 3),
    case("512", 2, 512, 7, 512, 3),
    case("parts_of_a_row", 2, 20, (6, 230), 70, 3),
    case("one_image", 1, 130, (19, 33), 33, 3),
)
every_algorithm = pytest.mark.parametrize("algorithm", FOLDED)


@pytest.fixture(autouse=True)
def _forced(request):
    if "algorithm" in request.fixturenames:
        torch.ops.torchconv._force_algorithm(request.getfixturevalue("algorithm"))


def random_cases(algorithm: str, count: int, seed: int, batch: int = 0) -> list[Conv2dCase]:
    """Any size from 1 x 1 on, any padding, channels around the lanes."""
    generator = random.Random(seed)
    taps, found = FOLDED[algorithm].r, []
    channels = (1, 2, 7, 15, 16, 17, 31, 33, 48, 50, 64, 65, 70, 130)
    while len(found) < count:
        padding = tuple(generator.randint(0, 5) for _ in range(4))
        h, w = (generator.randint(1, 14) for _ in range(2))
        if generator.random() < 0.1:  # rows of tiles that one job does not take
            w = generator.randint(200, 300)
        if h + sum(padding[:2]) < taps or w + sum(padding[2:]) < taps:
            continue
        found.append(case("random", batch or generator.randint(1, 5), generator.choice(channels),
                          (h, w), generator.choice(channels), taps, padding=padding))  # fmt: skip
    return found


def modes_of(shape: Conv2dCase) -> list[str]:
    return [mode for mode in MODES if fits(shape, mode)]


@both_layouts
@every_algorithm
@pytest.mark.parametrize("shape", LAYERS, ids=ids(LAYERS))
def test_errors(shape, algorithm, channels_last):
    shape = with_kernel(shape, algorithm)
    assert explanation("grad_input", shape)[0] == f"{algorithm}: forced, runs"
    t = random_operands(shape, torch.float32)
    for mode in modes_of(shape):
        found = run("grad_input", shape, t, mode, channels_last)
        rms, largest = errors(found, grad_input(shape, t, mode))
        assert rms < LIMITS[0] and largest < LIMITS[1], (mode, rms, largest)


@every_algorithm
def test_any_size_and_padding(algorithm):
    for index, shape in enumerate(random_cases(algorithm, 30, seed=1)):
        t = random_operands(shape, torch.float32, seed=index)
        for mode in modes_of(shape):
            value = grad_input(shape, t, mode)
            magnitude = grad_input(shape, t.map(torch.abs), mode)
            found = run("grad_input", shape, t, mode, index % 2 == 1)
            error = (found.double() - value).abs().max()
            assert error <= 3e-6 * magnitude.max(), (mode, shape)


@every_algorithm
def test_any_batch_and_layout(algorithm):
    """A sample has the same bits in any batch, at any place in it, in both layouts."""
    layers = [with_kernel(shape, algorithm).with_batch(9) for shape in LAYERS]
    for index, shape in enumerate([*random_cases(algorithm, 25, seed=2, batch=9), *layers]):
        t = random_operands(shape, torch.float32, seed=index)
        mode = modes_of(shape)[index % len(modes_of(shape))]
        together = run("grad_input", shape, t, mode, False)
        assert same_bits(run("grad_input", shape, t, mode, True), together), shape
        for begin, end in ((0, 1), (4, 5), (8, 9), (1, 4)):
            part = Operands(t.input[begin:end], t.weight, t.bias, t.grad[begin:end])
            some = shape.with_batch(end - begin)
            found = run("grad_input", some, part, mode, index % 2 == 1)
            assert same_bits(found, together[begin:end]), (begin, end, shape)


@every_algorithm
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_any_number_of_threads_and_level(algorithm, dtype):
    layers = [with_kernel(shape, algorithm) for shape in LAYERS]
    for index, shape in enumerate([*random_cases(algorithm, 10, seed=3), *layers]):
        t = random_operands(shape, dtype, seed=index)
        mode, channels_last = modes_of(shape)[-1], index % 2 == 1
        expected = run("grad_input", shape, t, mode, channels_last)
        for level in isa_levels():
            torch.ops.torchconv._force_isa(level)
            for count in (1, 3):
                with threads(count):
                    found = run("grad_input", shape, t, mode, channels_last)
                assert same_bits(found, expected), (level, count, shape)
        torch.ops.torchconv._force_isa("")


@every_algorithm
def test_as_zeros_where_the_inside_is(algorithm):
    """Forced, it computes layers with zeros, too: all but the edges has the same bits."""
    taps = FOLDED[algorithm].r
    shape = with_kernel(case("", 2, 32, 17, 24, 3), algorithm)
    t = random_operands(shape, torch.float32)
    zeros, repeated = (run("grad_input", shape, t, mode, False) for mode in ("zeros", "reflect"))
    inside = (..., slice(taps, -taps), slice(taps, -taps))
    assert same_bits(zeros[inside], repeated[inside]) and not same_bits(zeros, repeated)


def chosen(shape: Conv2dCase, mode: str, dtype=torch.float32) -> str:
    lines = explanation("grad_input", shape, dtype, padding_mode=MODES.get(mode, 0))
    return lines[-1].split(":")[0]


def test_the_choice_is_that_of_forward():
    for channels, size, taps, mode, dtype, expected in (
        (64, 28, 3, "reflect", torch.float32, "winograd_f4_folded"),
        (64, 28, 3, "circular", torch.bfloat16, "winograd_f4_folded"),
        (64, 28, 3, "zeros", torch.float32, "winograd_f4"),
        (15, 28, 3, "reflect", torch.float32, "dense_channels"),
        (64, 28, 5, "replicate", torch.float16, "winograd_5x5_folded"),
        (64, 28, 5, "replicate", torch.bfloat16, "dense_channels"),
        (64, 28, 7, "reflect", torch.float32, "winograd_parts_4x4"),
    ):
        for batch in (1, 300):
            shape = case("", batch, channels, size, channels, taps)
            assert chosen(shape, mode, dtype) == expected, (shape, mode, dtype)
    # So many rows would have to wait for others.
    long_rows = case("", 1, 512, (8, 4000), 512, 3)
    assert chosen(long_rows, "reflect") == "winograd_f4"


def test_no_winograd_where_it_is_off():
    shape = case("", 2, 64, 12, 64, 3)
    t = random_operands(shape, torch.float32)
    x = t.input.clone().requires_grad_()
    with torchconv.winograd("off"):
        y = torchconv.conv2d(x, t.weight, padding=1, padding_mode="reflect")
        found = torch.autograd.grad(y, x, t.grad)[0]
    assert errors(found, grad_input(shape, t, "reflect"))[0] < 3e-7

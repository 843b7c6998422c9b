"""Kernels that Winograd's algorithms take as sums of smaller ones: of any size, and which."""

import random

import pytest
import torch

from tests.cases import Conv2dCase, case, ids
from tests.compare import same_bits
from tests.kernels.winograd.algorithms import errors, explanation
from tests.reference import OPS, exact, exact_and_magnitude, random_operands, run

OWN = {(3, 3), (5, 5), (1, 3), (3, 1), (1, 5), (5, 1)}


def random_shape(generator: random.Random, part: str) -> Conv2dCase:
    pick = generator.choice
    kernel = [1, 1]
    while tuple(kernel) in OWN | {(1, 1)}:
        kernel = [1 if taps == "1" else generator.randint(2, 11) for taps in part.split("x")]
    padding = tuple(generator.randint(0, 6) for _ in range(4))
    dilation = (pick((1, 1, 1, 2, 3)), pick((1, 1, 1, 2, 4)))
    size = [
        max(generator.randint(1, 20), (taps - 1) * step + 1 - padding[2 * i] - padding[2 * i + 1])
        for i, (taps, step) in enumerate(zip(kernel, dilation, strict=True))
    ]
    channels = (1, 7, 16, 17, 33, 48, 64, 65, 130)
    return case("", generator.randint(1, 3), pick(channels), tuple(size), pick(channels),
                      tuple(kernel), padding=padding, dilation=dilation,
                      bias=pick([True, False]))  # fmt: skip


@pytest.mark.parametrize("part", ["3x3", "1x3", "3x1", "4x4", "1x4", "4x1"])
def test_kernels_of_any_size(part):
    generator = random.Random(part)
    for index in range(25):
        shape = random_shape(generator, part)
        t = random_operands(shape, torch.float32, seed=index)
        for op in OPS:
            name = f"winograd_parts_{part}" + ("_grad_weight" if op == "grad_weight" else "")
            torch.ops.torchconv._force_algorithm(name)
            assert explanation(op, shape)[0] == f"{name}: forced, runs"
            found = run(op, shape, t)
            value, magnitude = exact_and_magnitude(op, shape, t)
            assert (found.double() - value).abs().max() <= 3e-6 * magnitude.max(), (op, shape)
            last = run(op, shape, t.contiguous(torch.channels_last), True)
            assert same_bits(last, found), (op, shape)


LARGE = (
    case("9x9_of_128", 1, 128, 28, 64, 9),
    case("13x2_of_96", 2, 96, 20, 96, (13, 2)),
)


@pytest.mark.parametrize("shape", LARGE, ids=ids(LARGE))
@pytest.mark.parametrize("op", OPS)
def test_errors_of_long_sums_are_no_larger(op, shape):
    t = random_operands(shape, torch.float32)
    assert explanation(op, shape)[-1].startswith("winograd_parts_3x3")
    rms, largest = errors(run(op, shape, t), exact(op, shape, t))
    assert rms <= 1.2e-6 and largest <= 1.5e-5, (rms, largest)

"""Long direct sums are as exact as short ones: they are formed in partial sums."""

from __future__ import annotations

import pytest
import torch

import torchconv  # noqa: F401  (registers the operators)
from tests.cases import case, ids
from tests.reference import OPS, exact, random_operands, run

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}

# The rms error of 4,608 products of random numbers is 1.2e-6 of their sum's in one chain, 2.4e-7 in
# partial sums of 144.
LARGEST_ERROR = 2.8e-7

DEEP = (
    case("dense_3x3", 1, 512, 7, 256, 3),
    case("dense_3x3_strided", 1, 256, 9, 256, 3, 2),
    case("dense_3x3_large_map", 1, 256, 28, 32, 3),
    case("few_outputs", 1, 512, 14, 3, 3),
    case("few_outputs_strided", 1, 384, 15, 5, 3, 2),
    case("channels_of_a_prime", 1, 509, 7, 31, 3),
    case("dense_5x5", 1, 192, 13, 48, 5),
    case("dense_7x7", 1, 100, 9, 40, 7),
    case("dense_11x11", 1, 48, 16, 24, 11),
    case("pointwise", 1, 2048, 14, 64, 1, padding=0),
    case("pointwise_strided", 1, 2048, 14, 64, 1, 2, padding=0),
    case("full_image", 8, 128, 7, 96, 7, padding=0),
    case("one_pixel", 8, 4608, 1, 100, 1, padding=0),
    case("groups", 1, 1024, 9, 512, 3, groups=2),
)


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("shape", DEEP, ids=ids(DEEP))
def test_rms_error(shape, op, layout):
    t = random_operands(shape, torch.float32).contiguous(FORMATS[layout])
    expected = exact(op, shape, t)
    error = run(op, shape, t, layout == "channels_last", "off").double() - expected
    relative = (error.norm() / expected.norm()).item()
    assert relative <= LARGEST_ERROR, f"rms error {relative:.2e} of the rms of the result"


LARGE_KERNELS = (
    case("depthwise_31x31", 1, 16, 56, 16, 31, groups=16),
    case("depthwise_29x29", 2, 20, 28, 20, 29, groups=20),
)


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("shape", LARGE_KERNELS, ids=ids(LARGE_KERNELS))
def test_rms_error_of_large_depthwise_kernels(shape, layout):
    """A weight's gradient sums whole images: one chain of a part of them has 6.3e-7 and 3.9e-7."""
    t = random_operands(shape, torch.float32).contiguous(FORMATS[layout])
    expected = exact("grad_weight", shape, t)
    error = run("grad_weight", shape, t, layout == "channels_last").double() - expected
    assert error.norm() / expected.norm() <= 3.6e-7


def test_the_limit_is_below_one_chain():
    """One chain of products exceeds it, so a kernel that forgets its partial sums is noticed."""
    a, b = (torch.randn(4608, 200, generator=torch.Generator().manual_seed(i)) for i in range(2))
    chain = torch.zeros(200)
    for x, y in zip(a, b, strict=True):
        chain = chain + x * y
    expected = (a.double() * b.double()).sum(0)
    assert (chain.double() - expected).norm() / expected.norm() > 2 * LARGEST_ERROR

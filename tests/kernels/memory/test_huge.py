"""Tensors of more than 2^31 elements, sizes near the end of 64 bits, results that find no room."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import torchconv  # noqa: F401  (registers the operators)
from tests.cases import case, grouped, ids
from tests.reference import OPS, Operands, assert_accurate, run


def test_sizes_near_the_end_of_64_bits():
    """What the raw operators refuse or compute as an empty result, and never wraps around."""
    ops = torch.ops.torchconv
    x, weight = torch.ones(1, 1, 8, 8), torch.ones(1, 1, 3, 1)
    for dilation in (1 << 61, (1 << 62) - 1):
        output = ops.conv2d(x, weight, None, [1, 1, 0, 0, 0, 0, dilation, 1, 1, 0])
        assert output.shape == (1, 1, 0, 8)
    # No elements, but extents whose product with a dilation, or with each other, is too large.
    for taps in (5, 9, 33):  # the whole kernel extends over 2**63, 2**64 and 2**66 rows
        long, tall = torch.empty(0, 1, 1 << 61, 1), torch.empty(0, 1, taps, 1)
        output = ops.conv2d(long, tall, None, [1, 1, 0, 0, 0, 0, 1 << 61, 1, 1, 0])
        assert output.shape == (0, 0, 0, 1)
    wide, kernel = torch.empty(1, 0, 1 << 40, 1 << 20), torch.empty(1 << 10, 0, 1, 1)
    with pytest.raises(RuntimeError, match="^torchconv: a tensor has too many elements"):
        ops.conv2d(wide, kernel, None, [1, 1, 0, 0, 0, 0, 1, 1, 1, 0])


def test_out_of_memory_tells_what_was_asked_for():
    """A result that finds no room is an error that names its size in bytes and its shape; the next
    call works."""
    layer = torchconv.Conv2d(1, 1 << 20, 1)
    x = torch.ones(1, 1, 1, 1).expand(1 << 16, 1, 1, 1)
    bytes_needed = 4 << 36
    with pytest.raises(RuntimeError) as raised:
        torchconv.conv2d(x, layer.weight)
    text = str(raised.value)
    assert text.startswith("torchconv: out of memory")
    assert str(bytes_needed) in text and f"({1 << 16}, {1 << 20}, 1, 1)" in text
    assert torchconv.conv2d(x[:1], layer.weight).shape == (1, 1 << 20, 1, 1)


def available_memory() -> int:
    """Bytes; 0 where it cannot be told."""
    try:
        with open("/proc/meminfo") as file:
            lines = dict(line.split(":") for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return 0


HUGE = (
    (case("one_plane", 1, 1, 46_400, 1, 4, 4, padding=0), False),
    (grouped("many_images", 70_000, 8, (60, 64), 1, 4, stride=4, padding=0), False),
    (case("many_channels", 1, 70_000, 176, 2, 4, 4, padding=0), False),
    (case("many_channels_last", 1, 70_000, 176, 2, 4, 4, padding=0), True),
    (case("many_outputs_last", 1, 2, 176, 70_000, 1), True),
)


def corner_of(size: tuple[int, ...], pixels: int, seed: int, channels_last: bool):
    """Zeros but for the last pixels of the last image, which are random: (all of it, that corner).

    The zeros come from the system and take no memory until something is written to them."""
    n, c, h, w = size
    shape = (n, h, w, c) if channels_last else size
    tensor = torch.from_numpy(np.zeros(shape, np.int16)).view(torch.bfloat16)
    tensor = tensor.permute(0, 3, 1, 2) if channels_last else tensor
    corner = tensor[-1:, :, -pixels:, -pixels:]
    corner.copy_(torch.randn(corner.shape, generator=torch.Generator().manual_seed(seed)))
    return tensor, corner


@pytest.mark.slow
@pytest.mark.skipif(available_memory() < 12 << 30, reason="needs 12 GB of free memory")
@pytest.mark.parametrize("shape, channels_last", HUGE, ids=ids(shape for shape, _ in HUGE))
def test_more_than_2_31_elements(shape, channels_last):
    """Nothing but the end of a huge tensor is not zero, so what is found there was addressed with
    more than 32 bits; the exact values follow from the corners alone."""
    assert max(math.prod(shape.input_size), math.prod(shape.output_size)) > 2**31
    stride = shape.stride[0]
    x, x_corner = corner_of(shape.input_size, 8, 0, channels_last)
    grad, grad_corner = corner_of(shape.output_size, 8 // stride, 1, channels_last)
    weight = torch.randn(shape.weight_size, generator=torch.Generator().manual_seed(2)).bfloat16()
    small = replace(shape, n=1, h=8, w=8)
    corners = Operands(x_corner, weight, None, grad_corner)
    for op in OPS:
        found = run(op, shape, Operands(x, weight, None, grad), channels_last)
        nonzero = int(found.count_nonzero())
        if op == "grad_weight":
            part = found
        else:
            pixels = 8 // stride if op == "forward" else 8
            part = found[-1:, :, -pixels:, -pixels:]
        assert_accurate(part, op, small, corners)
        assert nonzero == int(part.count_nonzero())
        del found, part

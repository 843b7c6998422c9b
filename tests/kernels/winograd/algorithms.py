"""Winograd's algorithms for the forward and the input gradient, and layers for each of them."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch

from tests.cases import Conv2dCase, case


class Kernel(NamedTuple):
    """That of a layer which an algorithm computes."""

    r: int
    s: int
    stride: tuple[int, int] = (1, 1)


KERNELS = {"winograd_f4": Kernel(3, 3), "winograd_f2": Kernel(3, 3)} | {
    f"winograd_{r}x{s}": Kernel(r, s) for r, s in ((5, 5), (1, 3), (3, 1), (1, 5), (5, 1))
}
KERNELS |= {  # sums of smaller kernels
    "winograd_parts_3x3": Kernel(9, 5),
    "winograd_parts_1x3": Kernel(1, 9),
    "winograd_parts_3x1": Kernel(11, 1),
    "winograd_parts_4x4": Kernel(7, 7),
    "winograd_parts_1x4": Kernel(1, 7),
    "winograd_parts_4x1": Kernel(7, 1),
}
KERNELS |= {
    "winograd_stride2": Kernel(3, 3, (2, 2)),
    "winograd_4x4_stride2": Kernel(4, 4, (2, 2)),
    "winograd_1x3_stride2": Kernel(1, 3, (1, 2)),
}
ALGORITHMS = tuple(KERNELS)
FOLDED = {"winograd_f4_folded": Kernel(3, 3), "winograd_5x5_folded": Kernel(5, 5)}  # test_folded.py
WITHOUT_STRIDE = tuple(name for name, kernel in KERNELS.items() if kernel.stride == (1, 1))
GATHERS = ("forward", "grad_input")
# Of the rms of the exact result: the rms error and the largest.
LIMITS = dict.fromkeys(KERNELS, (1.2e-6, 1.5e-5)) | {"winograd_f2": (5e-7, 5e-6)}
LIMITS |= {name: (6e-7, 8e-6) for name in KERNELS if "stride2" in name}

every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)
every_gather = pytest.mark.parametrize("op", GATHERS)
both_layouts = pytest.mark.parametrize(
    "channels_last", [False, True], ids=["contiguous", "channels_last"]
)


def errors(found: torch.Tensor, value: torch.Tensor) -> tuple[float, float]:
    """The rms and the largest error, both of the rms of the exact value."""
    error, rms = found.double() - value, value.square().mean().sqrt()
    return float(error.square().mean().sqrt() / rms), float(error.abs().max() / rms)


def explanation(
    op: str, shape: Conv2dCase, dtype=torch.float32, channels_last=False, padding_mode: int = 0
) -> list[str]:
    *geometry, flags = shape.geometry(channels_last)
    return torch.ops.torchconv._explain(
        op, shape.input_size, shape.weight_size, [*geometry, flags + padding_mode],
        str(dtype).removeprefix("torch."),
    ).splitlines()  # fmt: skip


def with_kernel(shape: Conv2dCase, algorithm: str) -> Conv2dCase:
    """The same layer with the kernel and the stride of an algorithm, padded by half the kernel,
    with about as many outputs."""
    r, s, stride = (KERNELS | FOLDED)[algorithm]
    dilation = shape.dilation if stride == (1, 1) else (1, 1)
    padding = tuple(taps // 2 * step for taps, step in zip((r, s), dilation, strict=True))
    return replace(
        shape, h=shape.h * stride[0], w=shape.w * stride[1], r=r, s=s, stride=stride,
        padding=(padding[0], padding[0], padding[1], padding[1]), dilation=dilation,
    )  # fmt: skip


def random_case(generator: random.Random, algorithm: str, batch: int | None = None) -> Conv2dCase:
    """Any size from 1 x 1 on, any padding, channels around the lanes; of layers without a stride
    half are dilated."""
    pick = generator.choice
    kernel = KERNELS[algorithm]
    padding = tuple(generator.randint(0, 4) for _ in range(4))
    size = [generator.randint(1, 13 * step) for step in kernel.stride]
    if generator.random() < 0.1:  # rows of tiles that one job does not take
        size[1] = generator.randint(200, 300) * kernel.stride[1]
    dilation = [1, 1]
    if kernel.stride == (1, 1) and generator.random() < 0.5:
        dilation = [generator.randint(1, 5), pick((1, 2, 3, 5, 70) if size[1] > 150 else (1, 2, 4))]
    for axis in (0, 1):
        span = (kernel[axis] - 1) * dilation[axis] + 1
        size[axis] = max(size[axis], span - padding[2 * axis] - padding[2 * axis + 1])
    channels = (1, 2, 7, 15, 16, 17, 31, 33, 48, 50, 64, 65, 70, 130)
    return case("random", batch or generator.randint(1, 5), pick(channels), tuple(size),
                pick(channels), kernel[:2], kernel.stride, padding=padding,
                dilation=tuple(dilation), bias=pick([True, False]))  # fmt: skip


def random_cases(
    algorithm: str, count: int, seed: int, batch: int | None = None
) -> list[Conv2dCase]:
    generator = random.Random(seed)
    if "parts" in algorithm:  # more of them are in test_kernel_parts.py
        count //= 3
    return [random_case(generator, algorithm, batch) for _ in range(count)]

"""One layer, 3x3 with 64 channels in and out, and several ways to compute and to time it."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

import torchconv
from benchmarks.machine import fma_peak
from gallery.inside import levels

CHANNELS, KERNEL, PADDING = 64, 3, 1

# The pages are about sums of products as they are written. Winograd's transforms, which such a
# layer gets otherwise, need fewer.
direct = functools.partial(torchconv.conv2d, winograd="off")


@dataclass(frozen=True)
class Timed:
    """One way to compute the layer, as measured."""

    seconds: float  # of the fastest call: other programs only add to it
    gflops: float  # of what the call computes: a multiplication and an addition are two
    peak: float  # GF/s of fused multiply-adds on registers alone, at that level on those threads
    result: np.ndarray


def operands(size: int = 56, batch: int = 1) -> tuple[Tensor, Tensor]:
    """The same numbers in every process: input [batch, 64, size, size], weight [64, 64, 3, 3].

    Each image of a batch has a seed of its own, so that image i is the same in every batch."""

    def uniform(seed: int, *shape: int) -> Tensor:
        return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 0.5

    images = [uniform(1 + i, CHANNELS, size, size) for i in range(batch)]
    return torch.stack(images), uniform(0, CHANNELS, CHANNELS, KERNEL, KERNEL)


def flops(pixels: int) -> int:
    """Multiplications and additions for so many pixels of the result, in all of its channels."""
    return 2 * pixels * CHANNELS * CHANNELS * KERNEL * KERNEL


def reference(image: list, weight: list, rows: int, columns: int) -> list:
    """The first rows x columns pixels of the layer, as the definition reads, in plain Python.

    Args:
        image: nested lists [channel][row][column], padding included.
        weight: nested lists [filter][channel][row][column].
    """
    channels, size = range(len(weight[0])), range(len(weight[0][0]))
    result = [[[0.0] * columns for _ in range(rows)] for _ in weight]
    for k, filters in enumerate(weight):
        for p in range(rows):
            for q in range(columns):
                total = 0.0
                for r in size:
                    for s in size:
                        for c in channels:
                            total += filters[c][r][s] * image[c][p + r][q + s]
                result[k][p][q] = total
    return result


def padded(input: Tensor) -> Tensor:
    return nn.functional.pad(input, [PADDING] * 4)


def unfolded_product(input: Tensor, weight: Tensor) -> Tensor:
    """im2col: each window becomes a column of a matrix, and one matrix product does the rest."""
    batch, channels, height, width = input.shape
    views = padded(input).unfold(2, KERNEL, 1).unfold(3, KERNEL, 1)  # [n, c, p, q, r, s]
    columns = views.permute(0, 1, 4, 5, 2, 3).reshape(batch, -1, height * width)  # copies
    return (weight.flatten(1) @ columns).reshape(batch, -1, height, width)


def on_threads(threads: int, call: Callable[[], Tensor]) -> Tensor:
    """Calls with so many threads, and leaves their number as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return call()
    finally:
        torch.set_num_threads(before)


def timed(call: Callable[[], Tensor], pixels: int, threads: int = 1, budget: float = 0.5) -> Timed:
    """Calls for about `budget` seconds, at least three times, and measures the peak."""

    def measure() -> Timed:
        result = call()  # the first call sets up memory and threads
        peak, samples, begin = fma_peak(torch.float32), [], time.perf_counter()
        while len(samples) < 3 or time.perf_counter() - begin < budget:
            start = time.perf_counter()
            call()
            samples.append(time.perf_counter() - start)
        seconds = min(samples)
        peak = max(peak, fma_peak(torch.float32))
        return Timed(seconds, flops(pixels) / seconds * 1e-9, peak, result.numpy())

    with torch.inference_mode():
        return on_threads(threads, measure)


def time_torchconv(size: int, threads: list[int], budget: float) -> list[Timed]:
    """torchconv at the level of this process, on one number of threads after the other."""
    input, weight = operands(size)
    return [
        timed(lambda: direct(input, weight, padding=PADDING), size**2, count, budget)
        for count in threads
    ]


def time_both(size: int, threads: list[int], budget: float) -> tuple[list[Timed], list[Timed]]:
    """The same, and beside it nn.Conv2d."""
    input, weight = operands(size)
    conv = nn.Conv2d(CHANNELS, CHANNELS, KERNEL, padding=PADDING, bias=False)
    conv.weight = nn.Parameter(weight)
    theirs = [timed(lambda: conv(input), size**2, count, budget) for count in threads]
    return time_torchconv(size, threads, budget), theirs


def time_sizes(sizes: list[int], threads: list[int], budget: float) -> dict[int, list[Timed]]:
    """torchconv again, for images of several sizes."""
    return {size: time_torchconv(size, threads, budget) for size in sizes}


@dataclass(frozen=True)
class Setting:
    """What should not change the result of an image."""

    batch: int
    threads: int
    channels_last: bool = False


def results_of(compute: Callable, size: int, settings: list[Setting]) -> list[np.ndarray]:
    """The first image of the layer's result in each setting, [64, size, size].

    Args:
        compute: direct, torch.nn.functional.conv2d, or one that is called like them.
    """

    def result(setting: Setting) -> np.ndarray:
        input, weight = operands(size, setting.batch)
        if setting.channels_last:
            input = input.to(memory_format=torch.channels_last)
        output = on_threads(setting.threads, lambda: compute(input, weight, padding=PADDING))
        return output[0].contiguous().numpy()

    return [result(setting) for setting in settings]


# How oneDNN, which computes convolutions for PyTorch, calls the levels. It has none below SSE 4.1.
ONEDNN = {
    "portable": "SSE41",
    "avx2": "AVX2",
    "avx512": "AVX512_CORE",
    "avx512_bf16": "AVX512_CORE_BF16",
}


def results_of_both(
    size: int, settings: list[Setting]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Those of torchconv and of PyTorch at the level of this process, which has to be a new one."""
    os.environ["ONEDNN_MAX_CPU_ISA"] = ONEDNN[levels.in_use()]  # read at the first convolution
    ours = results_of(direct, size, settings)
    return ours, results_of(nn.functional.conv2d, size, settings)

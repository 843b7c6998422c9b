"""One layer, 3x3 with 64 channels in and out, and several ways to compute and to time it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

import torchconv
from benchmarks.machine import fma_peak

CHANNELS, KERNEL, PADDING = 64, 3, 1


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
        timed(lambda: torchconv.conv2d(input, weight, padding=PADDING), size**2, count, budget)
        for count in threads
    ]


def results_of(size: int, settings: list[tuple[int, int]]) -> list[np.ndarray]:
    """The first image of the result for each (batch, threads), at the level of this process."""
    results = []
    for batch, threads in settings:
        input, weight = operands(size, batch)
        compute = lambda: torchconv.conv2d(input, weight, padding=PADDING)  # noqa: B023, E731
        results.append(on_threads(threads, compute)[0].numpy())
    return results

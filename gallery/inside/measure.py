"""From ten lines of Python to all cores: one convolution, computed in several ways and timed.

    python -m gallery.inside.measure

prints for each way how many GF/s it reaches on this machine (10^9 multiplications and additions a
second), and which share that is of the most that the machine can do on so many threads, which is
measured, too.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass

import numpy as np
import torch

from gallery.inside import layer, levels
from gallery.inside.layer import Timed, timed

# Of the sums of 576 products of numbers below a half: float32 loses some of its last bits.
TOLERANCE = 1e-4
REFERENCE_PIXELS = (2, 4)  # rows and columns: all of the layer would take minutes


@dataclass(frozen=True)
class Step:
    """One way to compute the layer.

    `result` holds the first image, or as much of its upper left corner as was computed."""

    name: str
    threads: int
    seconds: float  # for the whole layer
    gflops: float
    share: float  # of the peak of the best instruction set on as many threads
    result: np.ndarray  # [64, rows, columns]


def cores() -> int:
    return len(os.sched_getaffinity(0))


def ladder(size: int = 56, budget: float = 0.5) -> list[Step]:
    """Times every way to compute the layer on an image of size x size, the slowest first.

    Raises:
        ArithmeticError: a step computes something else than PyTorch in float64.
    """
    input, weight = layer.operands(size)
    image, filters = layer.padded(input)[0].tolist(), weight.tolist()
    rows, columns = REFERENCE_PIXELS
    threads = [1, 2] if cores() > 1 else [1]

    def reference() -> torch.Tensor:
        return torch.tensor([layer.reference(image, filters, rows, columns)])

    def unfolded() -> torch.Tensor:
        return layer.unfolded_product(input, weight)

    measured: list[tuple[str, int, Timed]] = [
        ("reference in Python", 1, timed(reference, rows * columns, budget=0)),
        ("im2col and matmul", 1, timed(unfolded, size**2, budget=budget)),
    ]
    *others, best = levels.available()
    for level in others:
        (once,) = levels.at_level(level, layer.time_torchconv, size, [1], budget)
        measured.append((f"torchconv {level}", 1, once))
    ours, theirs = levels.at_level(best, layer.time_both, size, threads, budget)
    measured += [(f"torchconv {best}", *pair) for pair in zip(threads, ours, strict=True)]
    measured += [("nn.Conv2d", *pair) for pair in zip(threads, theirs, strict=True)]

    peaks = {count: max(t.peak for _, n, t in measured if n == count) for count in threads}
    exact = torch.nn.functional.conv2d(input.double(), weight.double(), padding=1)[0].numpy()
    for name, _, time in measured:
        check(name, time.result[0], exact)
    return [
        Step(
            name,
            count,
            layer.flops(size**2) / time.gflops * 1e-9,
            time.gflops,
            time.gflops / peaks[count],
            time.result[0],
        )
        for name, count, time in measured
    ]


def check(name: str, result: np.ndarray, exact: np.ndarray) -> None:
    """
    Raises:
        ArithmeticError: `result` is not the upper left corner of `exact`.
    """
    _, rows, columns = result.shape
    error = np.abs(result - exact[:, :rows, :columns]).max()
    if not error < TOLERANCE:
        raise ArithmeticError(f"{name} is {error:.2g} away from the result in float64")


def table(steps: list[Step]) -> str:
    """One line for each step."""
    lines = [f"{'':22}{'threads':>8}{'ms':>12}{'GF/s':>10}{'of the peak':>13}"]
    for step in steps:
        lines.append(
            f"{step.name:22}{step.threads:8}{1e3 * step.seconds:12.5g}{step.gflops:10.3g}"
            f"{step.share:13.2%}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Times one convolution, computed in several ways.")
    parser.add_argument("--size", type=int, default=56, help="of the image, pixels (default: 56)")
    size = parser.parse_args().size
    print(f"3x3, 64 channels in and out, one image of {size}x{size}, float32")
    print(table(ladder(size)))


if __name__ == "__main__":
    main()

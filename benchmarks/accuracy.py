"""Errors of dense 3x3 layers with each mode of Winograd's, beside nn.Conv2d's, as a Markdown table.

    python -m benchmarks.accuracy

Each cell holds the rms and the largest error of a float32 result, over the rms of the result in
float64. The data are normal; or 1e-2 large but for one pixel of 1e4, in the input or, where the
gradient of the input is computed, in that of the output.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

import torchconv
from benchmarks.machine import environment
from benchmarks.subjects import MEMORY_FORMATS

CLASSES = ((64, 56), (128, 28), (256, 14), (512, 7))  # channels in and out, height and width
BATCH = 2
MODES = ("auto", "f2", "off")
RESULTS = ("output", "input's gradient", "weight's gradient")
DATA = {"normal": (1.0, 1.0), "one pixel of 1e4 among 1e-2": (1e-2, 1e4)}

Conv = Callable[..., torch.Tensor]


def image(size: tuple[int, ...], data: str, layout: str) -> torch.Tensor:
    scale, pixel = DATA[data]
    values = scale * torch.randn(size)
    if pixel != 1:
        values[:, 0, size[2] // 2, size[3] // 2] = pixel
    return values.contiguous(memory_format=MEMORY_FORMATS[layout])


def results(conv: Conv, x: torch.Tensor, weight: torch.Tensor, grad: torch.Tensor, **options):
    """Output and both gradients."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    output = conv(x, weight, padding=1, **options)
    return output.detach(), *torch.autograd.grad(output, (x, weight), grad)


def errors(found: torch.Tensor, exact: torch.Tensor) -> tuple[float, float]:
    difference = (found.double() - exact).abs()
    rms = exact.square().mean().sqrt()
    return (difference.square().mean().sqrt() / rms).item(), (difference.max() / rms).item()


def measure(
    channels: int, size: int, data: str, layout: str
) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Each result with the errors in each mode and of nn.Conv2d."""
    torch.manual_seed(0)
    shape = (BATCH, channels, size, size)
    weight = torch.randn(channels, channels, 3, 3) / (9 * channels) ** 0.5
    weight = weight.contiguous(memory_format=MEMORY_FORMATS[layout])
    x, grad = image(shape, data, layout), image(shape, data, layout)
    normal_grad = image(shape, "normal", layout)
    for i, result in enumerate(RESULTS):
        operands = x, weight, grad if result == "input's gradient" else normal_grad
        exact = results(F.conv2d, *(operand.double() for operand in operands))[i]
        found = [results(torchconv.conv2d, *operands, winograd=mode)[i] for mode in MODES]
        found.append(results(F.conv2d, *operands)[i])
        yield result, [errors(one, exact) for one in found]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--layout", default="nchw", choices=list(MEMORY_FORMATS))
    layout = parser.parse_args().layout
    print(f"{environment()}, {layout}: rms error / largest error, over the rms of the result\n")
    print("| 3x3 layer | data | | " + " | ".join((*MODES, "`nn.Conv2d`")) + " |")
    print("|---|---|---|" + "---:|" * (len(MODES) + 1))
    for channels, size in CLASSES:
        for data in DATA:
            for result, found in measure(channels, size, data, layout):
                cells = " | ".join(f"{rms:.1e} / {largest:.1e}" for rms, largest in found)
                print(f"| {channels} channels, {size}x{size} | {data} | {result} | {cells} |")


if __name__ == "__main__":
    main()

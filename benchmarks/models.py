"""A training step and an inference of whole models, every nn.Conv2d swapped for torchconv.Conv2d.

python -m benchmarks.models
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

import torchconv
from benchmarks import own_cores
from benchmarks.apart import measure_apart
from benchmarks.machine import environment
from benchmarks.subjects import FORMAT_NAMES, MEMORY_FORMATS
from tests.layer_names import network_name
from torchconv._timing import measure_pairs

Build = Callable[[], nn.Module]


@dataclass(frozen=True)
class ModelRow:
    """As `rows.Row`, of a whole model."""

    model: str
    what: str
    dtype: str
    layout: str
    batch: int
    speedup: float
    low: float
    high: float
    ms: float
    torch_ms: float
    pairs: int


HEADER = (
    f"{'model':18} {'what':10} {'dtype':8} {'format':13} {'images':>6} {'speed-up':>8} "
    f"{'quartiles':>13} {'ms':>9} {'torch ms':>9} {'pairs':>5}"
)


def table_line(row: ModelRow) -> str:
    return (
        f"{network_name(row.model):18} {row.what:10} {row.dtype:8} {FORMAT_NAMES[row.layout]:13} "
        f"{row.batch:6} {row.speedup:7.2f}x {f'{row.low:.2f}-{row.high:.2f}':>13} {row.ms:9.4g} "
        f"{row.torch_ms:9.4g} {row.pairs:5}"
    )


def zoo() -> dict[str, tuple[Build, tuple[int, int, int, int]]]:
    """Models with the input they get; the networks of the examples on the images they are for."""
    from torchvision import models

    from examples.models import AlexNet, AlexNetCifar, LeNet

    return {
        "lenet": (LeNet, (64, 1, 28, 28)),
        "alexnet_cifar": (AlexNetCifar, (32, 3, 32, 32)),
        "alexnet": (AlexNet, (8, 3, 224, 224)),
        "resnet18": (models.resnet18, (4, 3, 224, 224)),
        "resnet50": (models.resnet50, (4, 3, 224, 224)),
        "resnext50": (models.resnext50_32x4d, (4, 3, 224, 224)),
        "mobilenet_v2": (models.mobilenet_v2, (4, 3, 224, 224)),
        "efficientnet_b0": (models.efficientnet_b0, (4, 3, 224, 224)),
        "convnext_tiny": (models.convnext_tiny, (2, 3, 224, 224)),
    }


def training_step(model: nn.Module, x: torch.Tensor) -> Callable[[], object]:
    """Forward, loss and all gradients; the optimizer costs the same on both sides."""
    labels = torch.arange(x.shape[0]) % 10
    model.train()

    def step():
        model.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(x), labels).backward()

    return step


def inference(model: nn.Module, x: torch.Tensor) -> Callable[[], object]:
    model = copy.deepcopy(model).eval()

    def step():
        with torch.inference_mode():
            return model(x)

    return step


WHATS = {"train": training_step, "inference": inference}


def build(name: str, dtype: str, layout: str) -> tuple[nn.Module, torch.Tensor]:
    """A model and images for it, the same ones each time."""
    make, size = zoo()[name]
    torch.manual_seed(0)
    to = {"dtype": getattr(torch, dtype), "memory_format": MEMORY_FORMATS[layout]}
    return make().to(**to), torch.randn(size).to(**to)


def step_of(name: str, dtype: str, layout: str, what: str, ours: bool) -> Callable[[], object]:
    """Of one side, in whatever process it is."""
    model, x = build(name, dtype, layout)
    return WHATS[what](torchconv.convert(model) if ours else model, x)


def measure_model(
    name: str, dtype: str, layouts: list[str], seconds: float, apart: bool = False
) -> Iterator[ModelRow]:
    """Both sides in turn on the same weights and images, in this process or each in its own."""
    batch = zoo()[name][1][0]
    for layout in layouts:
        for what in WHATS:
            side = partial(step_of, name, dtype, layout, what)
            if apart:
                measure = partial(measure_apart, partial(side, True), partial(side, False), seconds)
            else:
                measure = partial(measure_pairs, side(True), side(False), seconds)
            pairs = own_cores.measured(partial(measure, min_pairs=5))
            yield ModelRow(
                name, what, dtype, layout, batch, pairs.speedup, *pairs.quartiles,
                pairs.our_seconds * 1e3, pairs.their_seconds * 1e3, len(pairs.ours),
            )  # fmt: skip


def measure_models(
    names: Iterable[str], dtype: str, layouts: list[str], seconds: float, apart: bool = False
) -> list[ModelRow]:
    """Prints each row as soon as it is measured."""
    rows = []
    print(HEADER)
    for name in names:
        for row in measure_model(name, dtype, layouts, seconds, apart):
            rows.append(row)
            print(table_line(row), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description=__doc__)
    parser.add_argument("--models", default=",".join(zoo()), help="names, separated by commas")
    parser.add_argument("--layout", default="nchw,nhwc")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, help="default: what torch uses")
    parser.add_argument("--seconds", type=float, default=4.0, help="time for one row")
    parser.add_argument(
        "--apart", action="store_true", help="each side in a process, and a heap, of its own"
    )
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(environment())
    measure_models(
        arguments.models.split(","),
        arguments.dtype,
        arguments.layout.split(","),
        arguments.seconds,
        arguments.apart,
    )
    print(own_cores.summary())


if __name__ == "__main__":
    main()

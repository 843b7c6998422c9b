"""A training step and an inference of whole models, every nn.Conv2d swapped for torchconv.Conv2d.

python -m benchmarks.models
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable

import torch
from torch import nn

import torchconv
from benchmarks.machine import environment
from benchmarks.subjects import MEMORY_FORMATS
from benchmarks.timing import measure_pairs

Build = Callable[[], nn.Module]


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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description=__doc__)
    parser.add_argument("--models", default=",".join(zoo()), help="names, separated by commas")
    parser.add_argument("--layout", default="nchw,nhwc")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, help="default: what torch uses")
    parser.add_argument("--seconds", type=float, default=4.0, help="time for one row")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    dtype = getattr(torch, arguments.dtype)
    print(environment())
    print(f"{'model':16} {'what':10} {'layout':6} {'speed-up':>8} {'quartiles':>13} {'ms':>9} "
          f"{'torch ms':>9} {'pairs':>5}")  # fmt: skip
    for name in arguments.models.split(","):
        build, size = zoo()[name]
        for layout in arguments.layout.split(","):
            memory_format = MEMORY_FORMATS[layout]
            torch.manual_seed(0)
            theirs = build().to(dtype=dtype, memory_format=memory_format)
            ours = torchconv.convert(copy.deepcopy(theirs))
            x = torch.randn(size, dtype=dtype).contiguous(memory_format=memory_format)
            for what, kind in (("train", training_step), ("inference", inference)):
                pairs = measure_pairs(kind(ours, x), kind(theirs, x), arguments.seconds, 5)
                low, high = pairs.quartiles
                print(
                    f"{name:16} {what:10} {layout:6} {pairs.speedup:7.2f}x "
                    f"{f'{low:.2f}-{high:.2f}':>13} {pairs.our_seconds * 1e3:9.4g} "
                    f"{pairs.their_seconds * 1e3:9.4g} {len(pairs.ours):5}",
                    flush=True,
                )


if __name__ == "__main__":
    main()

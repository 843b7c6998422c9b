"""What one call costs before any arithmetic: microseconds on inputs so tiny that nothing else
counts.

    python -m benchmarks.overhead
"""

from __future__ import annotations

import argparse
import time

import torch
import torch.nn.functional as F

import torchconv
from torchconv._timing import lower_quartile

ROUNDS = 60
CALLS = 50


def contenders() -> dict[str, dict[str, object]]:
    """Callables by what they do, each with a name."""
    x = torch.randn(1, 4, 6, 6)
    weight, bias = torch.randn(4, 4, 3, 3), torch.randn(4)
    x_grad = x.clone().requires_grad_()
    weight_grad, bias_grad = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    raw = torch.ops.torchconv.conv2d.default
    geometry = (1, 1, 1, 1, 1, 1, 1, 1, 1, False)
    modules = {
        "torchconv.Conv2d": torchconv.Conv2d(4, 4, 3, padding=1),
        "nn.Conv2d": torch.nn.Conv2d(4, 4, 3, padding=1),
    }

    def step(function):
        def run():
            function(x_grad, weight_grad, bias_grad, padding=1).sum().backward()

        return run

    return {
        "forward, no autograd": {
            "raw operator": lambda: raw(x, weight, bias, geometry),
            "torchconv.conv2d": lambda: torchconv.conv2d(x, weight, bias, padding=1),
            "F.conv2d": lambda: F.conv2d(x, weight, bias, padding=1),
            **{name: _without_autograd(module, x) for name, module in modules.items()},
        },
        "forward that records": {
            "torchconv.conv2d": lambda: torchconv.conv2d(x_grad, weight_grad, bias_grad, padding=1),
            "F.conv2d": lambda: F.conv2d(x_grad, weight_grad, bias_grad, padding=1),
        },
        "forward and backward": {
            "torchconv.conv2d": step(torchconv.conv2d),
            "F.conv2d": step(F.conv2d),
        },
    }


def _without_autograd(module, x):
    def run():
        with torch.no_grad():
            return module(x)

    return run


def microseconds(calls: dict[str, object]) -> dict[str, float]:
    """Lower quartile over rounds in which every contender runs in turn."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for round_number in range(ROUNDS + 3):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(CALLS):
                call()
            if round_number >= 3:
                samples[name].append((time.perf_counter() - start) / CALLS)
    return {name: lower_quartile(values) * 1e6 for name, values in samples.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--threads", type=int, help="default: what torch uses")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    for title, calls in contenders().items():
        print(f"\n{title} [1, 4, 6, 6] * [4, 4, 3, 3]")
        for name, value in microseconds(calls).items():
            print(f"  {name:18} {value:7.1f} us")


if __name__ == "__main__":
    main()

"""Weight gradients of single samples beside the gradient of the whole batch: how many times as long
they take one by one, as sums of squares alone, and as the groups of one large convolution.

    python -m benchmarks.samples --network resnet18 --threads 2
"""

from __future__ import annotations

import argparse
import statistics

import torch

from benchmarks.turns import Turns, in_turns
from tests.cases import Conv2dCase
from tests.networks import NETWORKS
from tests.reference import random_operands, threads
from torchconv._operators.each_in_groups import grad_weight_within

FORMATS = {False: torch.contiguous_format, True: torch.channels_last}
KINDS = ("one by one", "squares", "groups")


def measured(shape: Conv2dCase, channels_last: bool, budget: float) -> Turns:
    ops = torch.ops.torchconv
    t = random_operands(shape, torch.float32).contiguous(FORMATS[channels_last])
    grad, input = t.grad.unsqueeze(1), t.input.unsqueeze(1)
    size, geometry = shape.weight_size, shape.geometry(channels_last)
    in_groups = grad_weight_within(ops.conv2d_grad_weight)
    calls = {
        "batch": lambda: ops.conv2d_grad_weight(t.grad, t.input, size, geometry),
        "one by one": lambda: ops.conv2d_each_grad_weight(grad, input, size, geometry),
        "squares": lambda: ops._grad_weight_squares(grad, input, size, geometry),
        "groups": lambda: in_groups(grad, input, size, geometry),
    }
    return in_turns(calls, budget)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, action="append")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=0.3, help="for each number")
    options = parser.parse_args()
    print(f"{'layer':34}{'batch ms':>10}" + "".join(f"{kind:>22}" for kind in KINDS))
    for network in options.network or ("lenet", "resnet18"):
        for channels_last in FORMATS:
            print("channels_last" if channels_last else "contiguous")
            for row in NETWORKS[network]:
                with threads(options.threads):
                    turns = measured(row.with_batch(options.batch), channels_last, options.seconds)
                print(line(row.name, turns), flush=True)


def line(name: str, turns: Turns) -> str:
    """The median of the rounds' ratios, and their quartiles."""
    text = f"{name:34}{min(turns.calls('batch')) * 1e3:10.3f}"
    for kind in KINDS:
        low, middle, high = statistics.quantiles(turns.ratios(kind, "batch"), n=4)
        text += f"{middle:8.2f} ({low:.2f}..{high:.2f})"
    return text


if __name__ == "__main__":
    main()

"""Random networks with shared layers, in-place operations, views and values used twice."""

import copy
import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import torchconv
from tests.compare import assert_near
from tests.optimize.models import image, randomised, without_packed

SEEDS = range(120)


def plus_equals(x, y):
    x += y
    return x


# Functions of the network's layers of each kind, the number of one, and two values.
STEPS = {
    "conv": lambda net, i, x, y: net.convs[i](x),
    "norm": lambda net, i, x, y: net.norms[i](x),
    "act": lambda net, i, x, y: net.acts[i](x),
    "padded": lambda net, i, x, y: net.convs[i](F.pad(x, (1, 1, 1, 1)))[:, :, 1:-1, 1:-1],
    "add": lambda net, i, x, y: x + y,
    "subtract": lambda net, i, x, y: x - y * 0.5,
    "concatenate": lambda net, i, x, y: torch.cat([x[:, :1], y[:, 1:]], 1),
    "view": lambda net, i, x, y: x.view_as(x),
    "silu": lambda net, i, x, y: F.silu(x),
    "plus equals": lambda net, i, x, y: plus_equals(x, y),
    "add_": lambda net, i, x, y: x.add_(y),
    "mul_": lambda net, i, x, y: x.mul_(0.7),
    "relu_": lambda net, i, x, y: x.relu_(),
    "silu_": lambda net, i, x, y: F.silu(x, inplace=True),
}
OFTEN = ["conv", "conv", "norm", "norm", "act", "act", "add", "plus equals"]


class Network(nn.Module):
    """Each step works on the newest value, or sometimes on an older one."""

    def __init__(self, seed):
        super().__init__()
        choose = random.Random(seed)
        self.convs = nn.ModuleList(nn.Conv2d(3, 3, k, padding=k // 2) for k in (1, 3, 3, 1, 5, 3))
        self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(6))
        self.acts = nn.ModuleList(
            [nn.ReLU(), nn.SiLU(inplace=True), nn.ReLU(inplace=True), nn.Hardswish(),
             nn.Dropout(), nn.Sigmoid()]
        )  # fmt: skip
        orders = {name: choose.sample(range(6), 6) for name in ("conv", "norm")}
        self.steps = []
        for newest in range(choose.randrange(4, 16)):
            name = choose.choice([*STEPS, *OFTEN, *OFTEN])
            fresh = orders.get(name) and choose.random() < 0.9
            which = orders[name].pop() if fresh else choose.randrange(6)
            first = newest if choose.random() < 0.85 else choose.randrange(newest + 1)
            self.steps.append((name, which, first, choose.randrange(newest + 1)))
        self.also = choose.randrange(len(self.steps) + 1)

    def forward(self, x):
        values = [x]
        for name, which, first, second in self.steps:
            values.append(STEPS[name](self, which, values[first], values[second]))
        return values[-1], values[self.also]


class Around(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.conv, self.norm = inner, nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        result, other = self.inner(self.norm(self.conv(x)))
        return torch.relu(result), other


@pytest.mark.parametrize("seed", SEEDS)
def test_results_and_the_input_stay_what_they_are(seed):
    torch.manual_seed(seed)
    network = Network(seed)
    model = randomised(Around(network) if seed % 3 == 0 else network)
    given, wide = image(), image().double()
    with torch.no_grad():
        expected = copy.deepcopy(model).double()(wide)
        optimised = torchconv.optimize(model)
        results = optimised(given)
    for result, one in zip((*results, given), (*expected, wide), strict=True):
        assert_near(result.double(), one, 2e-5)
    again = torchconv.optimize(optimised)
    assert without_packed(again) == without_packed(optimised)


def test_these_networks_have_everything_to_fuse():
    done = set()
    for seed in SEEDS:
        for row in torchconv.report(torchconv.optimize(Network(seed).eval(), inplace=True)):
            done.update(row.done)
    assert done >= {"BatchNorm", "padding", "residual", "relu", "silu", "hardswish", "sigmoid"}

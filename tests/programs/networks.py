"""What the tests of programs need: small networks, and the same layer by layer."""

import copy

import torch
from torch import nn

import torchconv
from tests.compare import same_bits
from tests.optimize.models import image, randomised
from torchconv._programs import unlink
from torchconv._programs.recipe import Segment
from torchconv._programs.shortcut import shortcut_of


def convolution(c, k, kernel=3, **options):
    return nn.Sequential(
        nn.Conv2d(c, k, kernel, padding=kernel // 2, bias=False, **options),
        nn.BatchNorm2d(k),
        nn.ReLU(),
    )


class Residual(nn.Module):
    """Its code becomes a graph."""

    def __init__(self, channels):
        super().__init__()
        self.one = convolution(channels, channels)
        self.other = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, x):
        return torch.relu(self.other(self.one(x)) + x)


class Squeeze(nn.Module):
    """Squeeze and excitation; ``mean`` and ``product`` are how it is written."""

    def __init__(self, channels, mean, product):
        super().__init__()
        self.mean, self.product = mean, product
        self.fc1, self.fc2 = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)
        self.act, self.gate = nn.SiLU(), nn.Sigmoid()

    def forward(self, x):
        return self.product(self.gate(self.fc2(self.act(self.fc1(self.mean(x))))), x)


class Network(nn.Module):
    """Two segments around a pooling, and a head; code that stays as it is."""

    def __init__(self):
        super().__init__()
        self.stem = convolution(3, 16, stride=2)
        self.early = nn.Sequential(convolution(16, 16, groups=16), convolution(16, 24, 1))
        self.pool = nn.MaxPool2d(2)
        self.blocks = nn.Sequential(Residual(24), Residual(24), convolution(24, 32))
        self.drop = nn.Dropout(0.5)
        self.head = nn.Conv2d(32, 5, 1)
        self.scale, self.scales = 2.0, [0.5]

    def forward(self, x):
        x = self.pool(self.early(self.stem(x)))
        return self.head(self.drop(self.blocks(x))) * self.scale + self.scales[0]


class Graph(nn.Module):
    """It becomes a graph itself."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.one, self.other = convolution(8, 8), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        return torch.relu(self.other(self.one(x)) + x)


X = image(1, 3, 32, 32)


def optimised(model=None, **options):
    torch.manual_seed(3)
    model = torchconv.optimize(randomised(Network() if model is None else model), **options)
    return model.requires_grad_(False)


def running(model=None, x=X, **options):
    """An optimised model whose program has run."""
    model = optimised(model, **options)
    with torch.inference_mode():
        model(x), model(x)
    assert runs(model) == 1
    return model


def runs(model):
    """How often programs ran."""
    return shortcut_of(model).runs


def kinds(model):
    """The kinds of steps in each segment, and the targets of the calls between."""
    return [
        [step.kind for step in part.content.steps]
        if isinstance(part.content, Segment)
        else part.content.target
        for part in shortcut_of(model).recipe.parts
    ]


def without_programs(model):
    """A copy that calls layer by layer."""
    copied = copy.deepcopy(model)
    unlink(copied)
    return copied


def layer_by_layer(model, *arguments):
    """What the model gives without programs. Afterwards it has none: its weights were read."""
    with torch.inference_mode():
        return without_programs(model)(*arguments)


def assert_same(model, x=X, ran=2, calls=3):
    """The model gives what its layers give; ``ran`` is how many calls were those of a program."""
    expected, before = layer_by_layer(model, x), runs(model)
    with torch.inference_mode():
        assert all(same_bits(model(x), expected) for _ in range(calls))
    assert runs(model) - before == ran

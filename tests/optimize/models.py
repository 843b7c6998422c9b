"""What several tests of optimize() need: models with statistics that matter, and comparisons."""

import copy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import torchconv
from tests.compare import assert_near


def randomised(model):
    """The model in eval mode; a BatchNorm that is folded wrongly changes its output."""
    generator = torch.Generator().manual_seed(1)
    for norm in model.modules():
        if isinstance(norm, _BatchNorm) or type(norm).__name__ == "FrozenBatchNorm2d":
            with torch.no_grad():
                if norm.running_mean is not None:
                    norm.running_mean.normal_(0, 0.2, generator=generator)
                    norm.running_var.uniform_(0.5, 1.5, generator=generator)
                if norm.weight is not None:
                    norm.weight.uniform_(0.5, 1.5, generator=generator)
                    norm.bias.normal_(0, 0.2, generator=generator)
    return model.eval()


def image(*size, seed=2):
    return torch.randn(*(size or (2, 3, 8, 8)), generator=torch.Generator().manual_seed(seed))


def in_float64(model, *arguments):
    """What the model makes of the arguments, computed by PyTorch in float64."""
    wide = copy.deepcopy(model).double()
    with torch.no_grad():
        return wide(
            *(each.double() if isinstance(each, torch.Tensor) else each for each in arguments)
        )


def assert_optimised(model, *arguments, tolerance=1e-5):
    """Returns the optimised model after comparing it with the original in float64."""
    model = randomised(model)
    optimised = torchconv.optimize(model)
    with torch.no_grad():
        result = optimised(*arguments)
    assert_near(result.double(), in_float64(model, *arguments), tolerance)
    return optimised


def done(model):
    """What each convolution does besides, by name, without how it is computed."""
    return {
        row.name: [each for each in row.done if each not in ("torchconv", "in one call")]
        for row in torchconv.report(model)
        if ", kernel " in row.layer
    }


def without_packed(model):
    """The report, but for what calls have left in memory."""
    report = torchconv.report(model)
    return [row._replace(packed_bytes=0) for row in report if not row.kept_bytes]


def reason(model, name):
    (row,) = (row for row in torchconv.report(model) if row.name == name)
    return row.reason


class Block(nn.Module):
    """A residual block; ``add`` takes the branch and the identity."""

    def __init__(self, add, activation=torch.relu):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)
        self.conv2, self.norm2 = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.act = nn.ReLU(inplace=True)
        self.add, self.activation = add, activation

    def forward(self, x):
        y = self.act(self.norm1(self.conv1(x)))
        y = self.add(self.norm2(self.conv2(y)), x)
        return self.activation(y)


class Code(nn.Module):
    """Three convolutions, and a forward that a test gives: a function of this module and x."""

    def __init__(self, function):
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU()
        self.other, self.third = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.function = function

    def forward(self, x):
        return self.function(self, x)


def conv_norm_act(self, x):
    return self.act(self.norm(self.conv(x)))


def assert_left(model, why, name="conv", fused=()):
    optimised = assert_optimised(model, image())
    assert done(optimised)[name] == list(fused)
    assert why in reason(optimised, name)
    return optimised

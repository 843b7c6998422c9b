"""Receptive fields: by arithmetic, measured with NaNs, and by autograd they are the same."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models

import torchconv
from examples.models import AlexNet, LeNet
from torchconv.visualize import (
    ReceptiveField,
    _field_probe,
    _field_trace,
    _layers,
    _theme,
    receptive_field,
)
from torchconv.visualize import compute_receptive_field as compute


def seen_by(model, name, size, unit, images):
    """First and last row and column with a gradient of one unit of a layer, over all its maps.

    Weights are made positive, so that no ReLU is off; the images differ, so that each element of a
    max-pooling window is the largest in one of them.
    """
    model = model.eval()
    for parameter in model.parameters():
        parameter.data = parameter.data.abs() + 1e-3
    found = []
    model.get_submodule(name).register_forward_hook(lambda m, i, output: found.append(output))
    channels = next(m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d))
    batch = torch.rand(images, channels, *size, requires_grad=True)
    model(batch)
    found[0][:, :, unit[0], unit[1]].sum().backward()
    seen = batch.grad.ne(0).any(0).any(0)
    rows, columns = seen.any(1).nonzero(), seen.any(0).nonzero()
    return rows[0].item(), rows[-1].item(), columns[0].item(), columns[-1].item()


def expected_of(field, unit):
    ends = []
    for i in range(2):
        first = field.offset[i] + unit[i] * field.stride[i]
        ends += [first, first + field.size[i] - 1]
    return tuple(ends)


def lenet():
    return LeNet(torchconv.Conv2d)


class Residual(nn.Module):
    """Two branches that meet twice, pooling as a function, and a layer that nothing uses."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.left = nn.Conv2d(4, 4, (5, 3), padding=(2, 1), dilation=1)
        self.right = nn.Conv2d(4, 4, 3, padding=2, dilation=2)
        self.last = nn.Conv2d(8, 2, 2)
        self.unused = nn.Conv2d(1, 1, 1)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.stem(x)), 2)
        x = torch.cat([x + self.left(x), self.right(x)], dim=1)
        return self.last(x)


def computed(model, name):
    return _field_trace.trace(model, _layers.find(model, name, "f"), "f")[-1][1]


def measured(model, name, size):
    return _field_probe.probe(model, _layers.find(model, name, "f"), size, "f")


CASES = [
    (lenet, "features.0", (28, 28), (13, 14)),
    (lenet, "features.2", (28, 28), (6, 7)),
    (lenet, "features.3", (28, 28), (4, 5)),
    (lenet, "features.5", (28, 28), (2, 2)),
    (Residual, "last", (64, 80), (7, 9)),
]


@pytest.mark.parametrize("make, name, size, unit", CASES)
def test_autograd_sees_the_same(make, name, size, unit):
    model = make()
    field = computed(model, name)
    assert compute(model, name) == field == measured(model, name, size)
    assert seen_by(model, name, size, unit, images=64) == expected_of(field, unit)


def test_autograd_sees_the_same_in_alexnet():
    """Its features alone: the dense layers take most of the time, and no part in this."""
    model = AlexNet(torchconv.Conv2d, classes=2)
    field = compute(model, "features.10")
    features = nn.Sequential()
    features.add_module("features", model.features[:11])
    with torchconv.winograd("off"):  # whose rounding errors leave no zeros in a tile
        seen = seen_by(features, "features.10", (224, 224), (6, 6), images=4)
    assert seen == expected_of(field, (6, 6))


@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_published_fields(name):
    """The table of Araujo, Norris and Sim (2019). Their AlexNet does not pad its first layer."""
    with torch.device("meta"):
        model = getattr(models, name)()
    size, padding = {"alexnet": (195, 64 + 2), "vgg16": (212, 90)}[name]
    expected = ReceptiveField((size, size), (32, 32), (-padding, -padding))
    assert compute(model, f"features.{len(model.features) - 1}") == expected


def test_a_block_of_resnet():
    with torch.device("meta"):
        model = models.resnet18()
    assert compute(model, "layer4").size == (435, 435)
    assert compute(model, model.layer1[0].relu).size == (27, 27)
    assert compute(torchconv.convert(model), "layer4.1.conv2") == compute(model, "layer4")


@pytest.mark.parametrize("seed", range(4))
def test_measured_and_computed_agree(seed):
    """Random stacks of convolutions and pooling."""
    generator = torch.Generator().manual_seed(seed)

    def pick(low, high):
        return torch.randint(low, high + 1, (2,), generator=generator).tolist()

    pool = (nn.MaxPool2d, nn.AvgPool2d)[seed % 2]
    kernel = pick(2, 3)
    padding = [size // 2 for size in kernel] if seed % 4 < 2 else 0
    model = nn.Sequential(
        nn.Conv2d(2, 2, pick(1, 3), pick(1, 2), pick(0, 2), pick(1, 2)),
        nn.ReLU(),
        pool(kernel, pick(1, 2), padding),
        nn.Conv2d(2, 2, pick(1, 3), pick(1, 2), pick(0, 2), pick(1, 2)),
        nn.BatchNorm2d(2),
    )
    assert measured(model, "4", (60, 66)) == computed(model, "4")


class Branching(nn.Module):
    """A model that torch.fx cannot record, since its path depends on the values."""

    def __init__(self, pool):
        super().__init__()
        self.first = nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect")
        self.pool = pool
        self.last = nn.Conv2d(3, 1, (3, 2), stride=2, padding=1)

    def forward(self, x):
        x = self.first(x)
        if x.sum() > 0:
            x = x.clone()
        return self.last(self.pool(x.relu()))


def test_models_that_cannot_be_traced_are_measured():
    model = Branching(nn.MaxPool2d(2)).half().train()
    model.first.weight.data.fill_(-1)  # every ReLU is off
    with pytest.raises(_field_trace.Unknown):
        computed(model, "last")
    field = compute(model, "last")
    assert field == ReceptiveField((8, 6), (4, 4), (-3, -3))
    assert model.training and model.first.weight.dtype is torch.float16
    known = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.MaxPool2d(2), model.last)
    assert compute(known, "2") == field


@pytest.mark.parametrize(
    "model, layer, error, message",
    [
        (Residual(), "middle", AttributeError, "no layer 'middle'.*: stem, left, right, last"),
        (Residual(), nn.ReLU(), ValueError, "is not part of the model"),
        (Residual(), 3, TypeError, "a name or a module, but got int"),
        (Residual(), "unused", RuntimeError, "'unused' does not run"),
        (lenet(), "classifier.1", ValueError, r"gives \[16, 120\], not maps"),
        (Branching(nn.AdaptiveAvgPool2d(20)), "last", ValueError, "does not move its window"),
        (Branching(nn.LayerNorm([28, 28])), "last", ValueError, "too much of the image"),
    ],
)
def test_refusals(model, layer, error, message):
    with pytest.raises(error, match=message):
        compute(model, layer, image_size=28)


class Unequal(nn.Module):
    def __init__(self):
        super().__init__()
        self.slow, self.fast = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1, stride=2)

    def forward(self, x):
        return self.slow(x)[..., ::2, ::2] + self.fast(x)


def test_branches_with_different_strides():
    """Slicing has no rule; what is measured is what both branches see."""
    assert compute(Unequal(), "") == ReceptiveField((1, 1), (2, 2), (0, 0))
    forward = {"forward": lambda self, x: self.slow(x) + self.fast(x)}
    model = type("Broadcast", (Unequal,), forward)()
    with pytest.raises(ValueError, match=r"strides \[\(1, 1\), \(2, 2\)\]"):
        compute(model, "")


def test_a_layer_alone():
    assert compute(nn.Conv2d(1, 1, 3, 2, 1), "") == ReceptiveField((3, 3), (2, 2), (-1, -1))


def test_nothing_is_left_in_the_model():
    """Neither the stand-ins of the tracer nor the NaNs reach the model or its hooks."""
    model, seen = Residual(), []
    model.left.register_forward_hook(lambda *arguments: seen.append(arguments))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert computed(model, "last") == measured(model, "last", (64, 64))
    assert not seen
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_image_size():
    with pytest.raises(ValueError, match="classifier.1.*32 to 256.*give the image_size"):
        compute(lenet(), "classifier.1")
    with pytest.raises(ValueError, match="image_size must be positive, but got"):
        compute(lenet(), "features.0", image_size=0)
    with pytest.raises(ValueError, match="in 9 x 9 pixels there are no three windows"):
        compute(Branching(nn.MaxPool2d(2)), "last", image_size=9)


@pytest.mark.parametrize("theme", _theme.THEMES)
@pytest.mark.parametrize("size", [None, 28, (40, 28)])
def test_figure(theme, size):
    figure = receptive_field(lenet(), "features.3", image_size=size, theme=theme)
    title = "features.3 (Conv2d): receptive field 14 × 14, stride 2, offset −2"
    assert figure.get_suptitle() == title
    picture, table = figure.axes
    cells = table.tables[0].get_celld()
    rows = [[cells[i, j].get_text().get_text() for j in range(4)] for i in range(4)]
    assert rows[1:] == [
        ["features.0", "5 × 5", "1", "−2"],
        ["features.2", "6 × 6", "2", "−2"],
        ["features.3", "14 × 14", "2", "−2"],
    ]
    boxes = {(patch.get_width(), patch.get_height()) for patch in picture.patches}
    assert {(5, 5), (6, 6), (14, 14)} <= boxes


class Pools(nn.Module):
    def forward(self, x):
        x = F.avg_pool2d(x, 3, 2, 1)
        x = F.max_pool2d(x, (2, 3), None, padding=(1, 0), dilation=(2, 1))
        return F.avg_pool2d(x, kernel_size=2, ceil_mode=True)


def test_pooling_functions():
    modules = nn.Sequential(
        nn.AvgPool2d(3, 2, 1), nn.MaxPool2d((2, 3), None, (1, 0), (2, 1)), nn.AvgPool2d(2)
    )
    assert computed(Pools(), "") == computed(modules, "") == measured(Pools(), "", (60, 70))

"""Programs compute what the layers compute."""

import operator

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.compare import same_bits
from tests.optimize.models import image
from tests.programs.networks import (
    Graph,
    Squeeze,
    X,
    assert_same,
    convolution,
    kinds,
    layer_by_layer,
    optimised,
    running,
    runs,
)
from torchconv._programs.shortcut import shortcut_of


def test_what_is_in_one_call():
    assert kinds(running()) == [
        ["layer"] * 3, "pool", ["layer"] * 6, operator.mul, operator.add
    ]  # fmt: skip
    assert kinds(running(Graph())) == [["layer"] * 3]


def test_not_worth_it():
    for model in (
        nn.Sequential(convolution(3, 4), convolution(4, 4)),
        nn.Sequential(*(nn.Sequential(convolution(3, 3), nn.MaxPool2d(1)) for _ in range(5))),
        nn.Sequential(nn.ReLU()),
    ):
        assert shortcut_of(optimised(model)) is None


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str
)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_same_bits(dtype, batch, memory_format):
    model = optimised(dtype=dtype, memory_format=memory_format)
    for x in (image(batch, 3, 32, 32), image(batch, 3, 20, 36)):
        assert_same(model, x)
        assert_same(model, x.contiguous(memory_format=torch.channels_last))


def mean_of(x):
    return F.adaptive_avg_pool2d(x, (1, 1))


def mean_by_method(x):
    return x.mean((2, 3), keepdim=True)


def mean_from_the_end(x):
    return torch.mean(x, dim=(-1, -2), keepdim=True)


def scale_first(scale, x):
    return scale * x


def scale_last(scale, x):
    return x.mul(scale)


def scale_by_torch(scale, x):
    return torch.mul(x, scale)


@pytest.mark.parametrize("mean", [mean_of, mean_by_method, mean_from_the_end, "module"])
@pytest.mark.parametrize("product", [scale_first, scale_last, scale_by_torch])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_squeeze_and_excitation(mean, product, dtype):
    mean = nn.AdaptiveAvgPool2d(1) if mean == "module" else mean
    network = nn.Sequential(convolution(3, 12), Squeeze(12, mean, product), convolution(12, 8))
    model = running(network, dtype=dtype)
    assert kinds(model) == [["layer", "mean", "layer", "layer", "product", "layer"]]
    with torch.inference_mode():
        found = model(image(1, 3, 32, 32))
    assert runs(model) == 2
    assert same_bits(found, layer_by_layer(model, X))


def mean_of_rows(x):
    return x.mean((3,), keepdim=True)


def mean_without_dimensions(x):
    return x.mean((2, 3))[:, :, None, None]


def mean_in_another_dtype(x):
    return x.mean((2, 3), keepdim=True, dtype=x.dtype)


def pooled(x):
    return F.adaptive_avg_pool2d(x, 2)


@pytest.mark.parametrize(
    "mean", [mean_of_rows, mean_without_dimensions, mean_in_another_dtype, pooled]
)
def test_what_is_no_mean_over_pixels(mean):
    layers = [convolution(3, 3) for _ in range(3)]
    model = optimised(nn.Sequential(*layers, Calls(mean), *(convolution(3, 3) for _ in range(3))))
    assert all("mean" not in each for each in kinds(model) if isinstance(each, list))
    assert_same(model)


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Odd(nn.Module):
    """Values that are returned twice, used late, unused, changed in place, nested."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(convolution(3, 3) for _ in range(6))
        self.same = nn.Identity()
        self.register_buffer("shift", torch.ones(1))

    def forward(self, x, other):
        first = self.layers[0](x)
        second = self.layers[1](first)
        again = self.same(second)
        self.layers[2](again)
        third = self.layers[3](other)
        second += self.shift
        fourth = self.layers[4](self.layers[5](again))
        both = torch.cat([fourth, first], dim=1)[:, 1:3]
        return {"both": both, "same": (again, second)}, [third, x, x.size(0)]


def test_odd_graphs():
    model = optimised(Odd())
    a, b = image(2, 3, 9, 9), image(1, 3, 12, 8, seed=5)
    expected, others = layer_by_layer(model, a, b)
    for _ in range(3):
        with torch.no_grad():
            found, rest = model(a, b)
        assert same_bits(found["both"], expected["both"])
        assert found["same"][0] is found["same"][1]
        assert same_bits(found["same"][0], expected["same"][0])
        assert same_bits(rest[0], others[0]) and rest[1] is a and rest[2] == 2
    assert runs(model) == 2


def test_results_have_memory_of_their_own():
    model = running()
    with torch.inference_mode():
        first = model(X)
        copied = first.clone()
        second = model(image(1, 3, 32, 32, seed=9))
    assert runs(model) == 3 and same_bits(first, copied) and not same_bits(first, second)
    features = running(nn.Sequential(*(convolution(3, 3) for _ in range(3))))
    with torch.inference_mode():
        first = features(X)
        copied = first.clone()
        features(X).zero_(), features(-X)
    assert same_bits(first, copied)


models = pytest.importorskip("torchvision.models")
NETWORKS = {"mobilenet_v2": 52, "efficientnet_b0": 81, "regnet_y_400mf": 85, "resnet18": 20}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name):
    torch.manual_seed(1)
    model = running(getattr(models, name)(num_classes=10), image(2, 3, 64, 64))
    assert len(shortcut_of(model).recipe.layers) == NETWORKS[name]
    x = image(2, 3, 64, 64, seed=4)
    with torch.inference_mode():
        found = model(x)
    assert runs(model) == 2
    assert same_bits(found, layer_by_layer(model, x))

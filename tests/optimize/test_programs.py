"""Programs compute what the layers compute, go where models go, and end with them."""

import copy
import gc
import io
import operator
import os
import pickle
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import torchconv
from tests.compare import assert_near, same_bits
from tests.optimize.models import image, randomised
from tests.optimize.programs import (
    X,
    Graph,
    Network,
    Residual,
    Squeeze,
    assert_same,
    convolution,
    layer_by_layer,
    optimised,
    running,
    runs,
)
from tests.reference import threads
from torchconv._programs.recipe import Segment
from torchconv._programs.shortcut import shortcut_of

COUNT = torch.ops.torchconv._program_count


def kinds(model):
    """The kinds of steps in each segment, and the targets of the calls between."""
    return [
        [step.kind for step in part.content.steps]
        if isinstance(part.content, Segment)
        else part.content.target
        for part in shortcut_of(model).recipe.parts
    ]


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
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
    tolerance = 1e-5 if dtype is torch.float32 else 2e-2
    assert_near(found.float(), layer_by_layer(model, X).float(), tolerance)


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


def saved_and_loaded(model):
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def pickled(model):
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("how", [copy.deepcopy, pickled, saved_and_loaded])
@pytest.mark.parametrize("network", [Network, Graph])
def test_copies(network, how):
    model = running(network())
    keys, text = list(model.state_dict()), repr(model)
    copied = how(model)
    assert list(copied.state_dict()) == keys and repr(copied) == text
    assert runs(copied) == 0 and shortcut_of(copied) is not shortcut_of(model)
    assert_same(copied)
    with torch.no_grad():
        copied.stem[0].weight.mul_(2) if network is Network else copied.stem.weight.mul_(2)
    assert_same(copied)
    assert_same(model)
    assert not same_bits(layer_by_layer(copied, X), layer_by_layer(model, X))
    del model
    gc.collect()
    assert_same(copied)


def test_names_and_children_stay():
    model = randomised(Network())
    names = list(dict(model.named_modules()))
    optimised_model = running(model)
    assert list(dict(optimised_model.named_modules())) == names
    assert list(optimised_model.state_dict()) == list(copy.deepcopy(optimised_model).state_dict())
    assert "Shortcut" not in repr(optimised_model)


def test_a_shallow_copy_of_what_is_gone():
    model = running()
    copied = copy.copy(model)
    del model
    gc.collect()
    with pytest.raises(ReferenceError, match="shallow copy"):
        copied(X)


def test_ends_with_the_model():
    gc.collect()
    before = COUNT()
    model = running()
    gc.collect()  # what is left of optimize()
    gc.disable()
    try:
        assert COUNT() == before + 2
        del model
        assert COUNT() == before
    finally:
        gc.enable()


def test_one_program_at_a_time():
    gc.collect()
    before = COUNT()
    model = running()
    others = image(1, 3, 16, 16)
    with torch.inference_mode():
        model(others), model(X), model(others), model(X)
        assert runs(model) == 3 and COUNT() == before + 2
        model(others), model(others), model(others)
        assert runs(model) == 5 and COUNT() == before + 2
    assert_same(model, others)
    assert_same(model, X)


def test_optimised_again():
    model = running()
    again = torchconv.optimize(model, X)
    assert repr(again) == repr(model) and kinds(again) == kinds(model)
    assert shortcut_of(again) is not shortcut_of(model)
    assert_same(again)
    assert_same(torchconv.optimize(model, inplace=True))
    assert runs(torchconv.optimize(nn.Sequential(model, nn.ReLU()).eval())) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_forked_process():
    with threads(1):
        model = running()
        expected = layer_by_layer(model, X)
        with torch.inference_mode():
            model(X), model(X)
        child = os.fork()
        if child == 0:
            with torch.inference_mode():
                same = same_bits(model(X), expected)
            os._exit(0 if same and runs(model) == 3 else 1)
        assert os.waitpid(child, 0)[1] == 0
        with torch.inference_mode():
            assert same_bits(model(X), expected) and runs(model) == 3


def test_several_threads_of_python():
    model = optimised()
    expected = layer_by_layer(model, X)
    wrong = []

    def run():
        with torch.inference_mode():
            wrong.extend(i for i in range(100) if not same_bits(model(X), expected))

    workers = [threading.Thread(target=run) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong and runs(model) > 100


def test_the_report():
    model = running()
    report = torchconv.report(model)
    assert all("in one call" in row.done for row in report if ", kernel " in row.layer)
    assert report.kept_bytes == report[0].kept_bytes == shortcut_of(model).bytes > 0
    assert report[0].name == "" and report[0].layer == "Network" and "kept" in str(report)
    fresh = torchconv.report(copy.deepcopy(model))
    assert fresh.kept_bytes == 0 and fresh[0].name == "stem.0"
    model.early = nn.Sequential()
    assert torchconv.report(model)[0].done[-1:] != ("in one call",)


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
    assert_near(found, layer_by_layer(model, x), 1e-5)

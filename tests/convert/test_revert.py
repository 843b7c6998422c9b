"""``revert`` makes layers compute as before ``convert``."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import torchconv
from tests.convert.converting import COPIES, computed_by

NAMES = ["Conv1d", "Conv2d", "ConvTranspose1d", "ConvTranspose2d"]


class OwnForward(nn.Conv2d):
    def forward(self, x):
        return nn.functional.conv2d(x, self.weight, self.bias)


torchconv.register(OwnForward)


def layer(name):
    return OwnForward(4, 8, 3) if name == "OwnForward" else getattr(nn, name)(4, 8, 3)


def images(name):
    return torch.randn(2, 4, *((9,) if "1d" in name else (9, 8)))


@pytest.mark.parametrize("name", [*NAMES, "OwnForward"])
def test_nothing_of_a_conversion_is_left(name):
    model = nn.Sequential(layer(name))
    before, expected = dict(vars(model[0])), model(images(name) * 0)
    assert torchconv.revert(torchconv.convert(model)) is model
    assert vars(model[0]) == before and not torchconv.is_converted(model[0])
    assert computed_by(model, images(name)) == "PyTorch"
    assert torch.equal(model(images(name) * 0), expected)
    for other in (copied(torchconv.convert(model)) for copied in COPIES):
        torchconv.revert(other)
        assert computed_by(other, images(name)) == "PyTorch"
    assert torchconv.is_converted(model[0])
    torchconv.revert(torchconv.revert(model))
    assert computed_by(model, images(name)) == "PyTorch"


@pytest.mark.parametrize("name", NAMES)
def test_layers_of_torchconv_become_those_of_torch_nn(name):
    ours, theirs = getattr(torchconv, name)(4, 8, 3), getattr(nn, name)(4, 8, 3)
    parameters = list(ours.parameters())
    torchconv.revert(ours)
    assert type(ours) is type(theirs) and vars(ours).keys() == vars(theirs).keys()
    assert all(one is other for one, other in zip(ours.parameters(), parameters, strict=True))
    assert computed_by(ours, images(name)) == "PyTorch"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("package", [nn, torchconv], ids=["nn", "torchconv"])
def test_lazy_layers(name, package):
    lazy = torchconv.convert(getattr(package, f"Lazy{name}")(8, 3))
    built = getattr(torchconv, f"Lazy{name}")(8, 3)
    for each in (torchconv.revert(lazy), torchconv.revert(built)):
        assert type(each) is getattr(nn, f"Lazy{name}")
        assert computed_by(each, images(name)) == "PyTorch" and type(each) is getattr(nn, name)


def test_parametrizations_stay():
    plain = parametrizations.weight_norm(nn.Conv2d(4, 8, 3))
    expected = plain(images("2d") * 0)
    torchconv.revert(torchconv.convert(plain))
    assert computed_by(plain, images("2d")) == "PyTorch"
    assert torch.equal(plain(images("2d") * 0), expected)


def test_a_mode_of_winograd_stays_for_the_next_time():
    conv = torchconv.Conv2d(4, 8, 3)
    conv.winograd = "f2"
    torchconv.convert(torchconv.revert(torchconv.convert(conv)))
    assert conv.winograd == "f2"


@pytest.mark.parametrize(
    "make",
    [
        lambda: torchconv.ConvActivation2d(4, 8, 3),
        lambda: parametrizations.weight_norm(torchconv.Conv2d(4, 8, 3)),
        lambda: type("Mine", (torchconv.Conv2d,), {})(4, 8, 3),
    ],
    ids=["fused", "parametrized", "derived"],
)
def test_what_cannot_be_reverted_is_a_warning(make):
    model = nn.Sequential(nn.Conv2d(4, 4, 1), make())
    torchconv.convert(model)
    kind = type(model[1])
    with pytest.warns(UserWarning, match=rf"1 \({kind.__name__}\) still computes with") as caught:
        torchconv.revert(model)
    assert caught[0].filename == __file__
    assert not torchconv.is_converted(model[0]) and type(model[1]) is kind
    assert torchconv.is_converted(model[1])


def test_models_that_were_never_converted_are_not_changed():
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.ConvTranspose3d(1, 1, 1))
    model[0]._conv_forward = mine = lambda input, weight, bias: input
    before = [dict(vars(module)) for module in model.modules()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torchconv.revert(copy.copy(model))
    assert [vars(module) for module in model.modules()] == before
    assert model[0]._conv_forward is mine

"""What more than one place uses is not fused, and the report says why."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import torchconv
from tests.compare import assert_near
from tests.optimize.models import (
    Code,
    assert_left,
    assert_optimised,
    conv_norm_act,
    done,
    image,
    randomised,
    reason,
)


@pytest.mark.parametrize(
    "function",
    [
        lambda self, x: self.norm(y := self.conv(x)) + y,
        lambda self, x: (y := self.conv(x), F.relu(self.norm(y)))[1] * y.mean(),
    ],
)
def test_a_result_that_is_used_twice(function):
    assert_left(Code(function), "used in 2 places")


def test_a_norm_whose_result_is_used_twice_is_folded_and_no_more():
    model = Code(lambda self, x: self.act(y := self.norm(self.conv(x))) + y)
    assert_left(model, "used in 2 places", fused=["BatchNorm"])


def test_layers_that_are_called_twice():
    assert_left(
        Code(lambda self, x: self.act(self.norm(self.conv(self.conv(x))))), "called 2 times"
    )
    model = Code(lambda self, x: self.norm(self.conv(x)) + self.norm(self.other(x)))
    optimised = assert_left(model, "called 2 times")
    assert type(optimised.norm) is nn.BatchNorm2d


def test_an_activation_that_is_called_twice_is_fused_in_both():
    model = Code(lambda self, x: self.act(self.other(self.act(self.norm(self.conv(x))))))
    optimised = assert_optimised(model, image())
    assert done(optimised) == {"conv": ["BatchNorm", "relu"], "other": ["relu"], "third": []}
    assert type(optimised) is Code

    model = Code(lambda self, x: self.act(x - self.act(self.norm(self.conv(x)))))
    optimised = assert_optimised(model, image())
    assert done(optimised)["conv"] == ["BatchNorm", "relu"] and type(optimised.act) is nn.ReLU


def test_weights_that_are_shared_are_folded_separately():
    model = nn.Sequential(
        nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
    )
    model[2].weight = model[0].weight
    optimised = assert_optimised(model, image())
    assert done(optimised) == {"0": ["BatchNorm"], "2": ["BatchNorm"]}
    assert optimised[2].weight is not optimised[0].weight


@pytest.mark.parametrize(
    "function",
    [
        lambda self, x: conv_norm_act(self, x) + self.conv.weight.mean(),
        lambda self, x: conv_norm_act(self, x) + self.norm.running_mean[0],
        lambda self, x: conv_norm_act(self, x) + self.conv.forward(x),
    ],
)
def test_parameters_that_are_used_directly(function):
    assert_left(Code(function), "used directly")


def test_tied_parameters_that_are_used_directly():
    model = Code(lambda self, x: conv_norm_act(self, x) + self.first.mean())
    model.first = model.conv.weight
    assert_left(model, "used directly")


def test_a_layer_that_the_model_refers_to_from_two_places():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
            self.first = self.block[0]
            self.kept = [self.block[1]]

        def forward(self, x, also=None):
            return self.block(x) if also is None else self.kept[0](self.first(x)) + self.first(also)

    model = randomised(Twice())
    optimised = torchconv.optimize(model)
    assert optimised.first is optimised.block[0]
    for arguments in [(image(),), (image(), image(seed=5))]:
        with torch.no_grad():
            assert_near(optimised(*arguments), model(*arguments))
    assert "other parts of the model" in reason(optimised, "block.0")


def test_a_layer_in_a_list_outside_of_the_traced_code():
    class Listed(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
            self.layers = [self.block[0]]

        def forward(self, x, again=False):
            return self.block(x) + (self.layers[0](x) if again else 0)

    model = randomised(Listed())
    optimised = torchconv.optimize(model)
    with torch.no_grad():
        assert_near(optimised(image(), True), model(image(), True))
    assert done(optimised) == {"block.0": []}


def test_a_layer_that_code_outside_of_its_block_calls():
    model = Code(lambda self, x: self.block(x) + self.block.conv(x))
    model.block = Code(conv_norm_act)
    assert_left(model, "called 2 times", name="block.conv")


def test_layers_of_a_block_that_only_the_code_around_it_calls():
    model = Code(lambda self, x: self.block.act(self.block.norm(self.block.conv(x))))
    model.block = Code(lambda self, x: F.silu(self.norm(self.conv(x))) + x)
    optimised = assert_optimised(model, image())
    assert done(optimised)["block.conv"] == ["BatchNorm", "relu"]


def test_a_block_whose_methods_untraced_code_calls_keeps_its_code():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def features(self, x):
            return self.conv(x)

        def forward(self, x):
            return torch.relu(self.features(x))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = Encoder()

        def forward(self, x, mask=None):
            return self.encoder.features(x) if mask is None else self.encoder(x)

    model = Network().eval()
    optimised = torchconv.optimize(model)
    for mask in (None, 1):
        assert_near(optimised(image(), mask), model(image(), mask))
    assert "Encoder.features" in reason(optimised, "encoder.conv")

"""Values that change in place between two operations keep these apart."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import torchconv
from tests.compare import assert_near
from tests.optimize.models import (
    Code,
    assert_optimised,
    done,
    image,
    in_float64,
    randomised,
    reason,
)


def change_input(self, x):
    x = x * 1
    y = self.conv(x)
    x.mul_(2)
    return y + x


def change_view(self, x):
    x = x * 1
    y = self.conv(x)
    x.view(2, -1).add_(1)
    return y + x


def change_in_place_module(self, x):
    x = x * 1
    y = self.conv(x)
    return y + F.relu(x, inplace=True)


def change_by_operator(self, x):
    x = x * 1
    z = x.flatten(1)
    y = self.conv(x)
    z -= 1
    return y + x


def change_argument(self, x):
    y = self.conv(x)
    x[:, 0].zero_()
    return y + x


@pytest.mark.parametrize(
    "function",
    [change_input, change_view, change_in_place_module, change_by_operator, change_argument],
)
def test_an_input_that_changes_before_the_addition(function):
    model = randomised(Code(function))
    expected = in_float64(model, image())
    optimised = torchconv.optimize(model)
    with torch.no_grad():
        assert_near(optimised(image()).double(), expected, 1e-5)
    assert done(optimised)["conv"] == [] and "may change" in reason(optimised, "conv")


def test_an_input_that_changes_between_padding_and_convolution():
    def function(self, x):
        x = x * 1
        y = F.pad(x, (1, 1, 1, 1))
        x.zero_()
        return self.conv(y)

    assert done(assert_optimised(Code(function), image()))["conv"] == []


@pytest.mark.parametrize("add", [lambda x, y: x.add_(y), lambda x, y: torch.Tensor.add_(x, y)])
def test_an_addition_to_the_residual_in_place(add):
    """Another name of the residual sees the sum."""

    def function(self, x):
        kept = x * 1
        other = kept.view_as(kept)
        return add(kept, self.conv(x)) * other

    assert done(assert_optimised(Code(function), image()))["conv"] == []


def test_plus_equals_changes_the_caller_of_a_block():
    def function(self, x):
        x += self.norm(self.conv(x))
        return self.act(x)

    model = randomised(nn.Sequential(Code(function)))
    optimised = torchconv.optimize(model)
    given, expected = image(), image()
    with torch.no_grad():
        assert_near(optimised(given), model(expected), 1e-5)
    assert_near(given, expected, 1e-5)  # both have the sum now
    assert done(optimised)["0.conv"] == ["BatchNorm"]

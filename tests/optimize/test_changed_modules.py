"""Modules that do not do what their class says are not fused: hooks, other code, subclasses."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm

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

HOOKS = {
    "forward": lambda m, f: m.register_forward_hook(lambda *_: f()),
    "forward with kwargs": lambda m, f: m.register_forward_hook(lambda *_: f(), with_kwargs=True),
    "pre": lambda m, f: m.register_forward_pre_hook(lambda *_: f()),
    "pre with kwargs": lambda m, f: m.register_forward_pre_hook(lambda *_: f(), with_kwargs=True),
}


@pytest.mark.parametrize("hook", HOOKS.values(), ids=HOOKS)
@pytest.mark.parametrize(("part", "fused"), [("conv", []), ("norm", []), ("act", ["BatchNorm"])])
def test_hooks(part, fused, hook):
    calls = []
    model = Code(conv_norm_act)
    hook(getattr(model, part), lambda: calls.append(part))
    optimised = assert_left(model, "has hooks", fused=fused)
    calls.clear()
    optimised(image())
    assert calls == [part]


@pytest.mark.parametrize("name", ["register_full_backward_hook", "register_full_backward_pre_hook"])
def test_backward_hooks(name):
    model = Code(conv_norm_act)
    calls = []
    getattr(model.norm, name)(lambda *_: calls.append(1))
    optimised = assert_left(model, "has hooks")
    calls.clear()
    optimised(image().requires_grad_()).sum().backward()
    assert calls == [1]


def test_a_container_with_hooks_is_optimised_inside_and_keeps_them():
    inner = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    shapes = []
    inner.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape))
    model = nn.Sequential(nn.Conv2d(3, 3, 1), inner, nn.ReLU())
    optimised = assert_optimised(model, image())
    assert done(optimised) == {"0": [], "1.0": ["BatchNorm"]}
    shapes.clear()
    optimised(image())
    assert len(shapes) == 1 and type(optimised[2]) is nn.ReLU


def test_a_block_with_hooks_keeps_them_when_its_code_changes():
    model = nn.Sequential(Code(lambda self, x: torch.relu(self.norm(self.conv(x)) + x)))
    model[0].register_forward_hook(lambda module, inputs, output: output * 2)
    assert done(assert_optimised(model, image()))["0.conv"] == ["BatchNorm", "residual", "relu"]


def test_hooks_of_all_modules():
    calls = []
    handle = nn.modules.module.register_module_forward_hook(lambda m, *_: calls.append(type(m)))
    try:
        optimised = torchconv.optimize(randomised(Code(conv_norm_act)))
        optimised(image())
    finally:
        handle.remove()
    assert nn.BatchNorm2d in calls and "hooks of all modules" in reason(optimised, "")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (parametrizations.weight_norm, "parametrizations"),
        (parametrizations.spectral_norm, "parametrizations"),
        (spectral_norm, "hooks"),
        (lambda conv: prune.l1_unstructured(conv, "weight", 0.5), "hooks"),
    ],
    ids=["weight_norm", "spectral_norm", "old spectral_norm", "prune"],
)
def test_changed_weights(change, why):
    model = Code(conv_norm_act)
    change(model.conv)
    if hasattr(model.conv, "weight_orig"):
        model.conv.weight = model.conv.weight.detach()  # or it could not be copied
    model = randomised(model)
    optimised = torchconv.optimize(model)
    assert_near(optimised(image()), model(image()))
    assert done(optimised)["conv"] == [] and why in reason(optimised, "conv")
    assert torchconv.is_converted(optimised.conv)


def test_replaced_forward():
    model = randomised(Code(conv_norm_act))
    model.norm.forward = functools.partial(F.relu)
    optimised = torchconv.optimize(model)
    assert_near(optimised(image()), model(image()))
    assert "replaced" in reason(optimised, "conv") and type(optimised.norm) is nn.BatchNorm2d

    model = randomised(Code(conv_norm_act))
    model.conv._conv_forward = lambda x, w, b: F.conv2d(x, w, b, padding=1) * 2
    optimised = torchconv.optimize(model)
    assert_near(optimised(image()), model(image()))
    assert "replaced" in reason(optimised, "conv") and not torchconv.is_converted(optimised.conv)

    model = randomised(Code(conv_norm_act))
    model.forward = lambda x: x + 1
    optimised = torchconv.optimize(model)
    assert torch.equal(optimised(image()), image() + 1)


def test_subclasses():
    class Scaled(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) * 2

    class Shifted(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x) + 1

    model = Code(conv_norm_act)
    model.conv = Scaled(3, 3, 1)
    optimised = assert_left(model, "subclass")
    assert type(optimised.conv) is Scaled
    model = Code(conv_norm_act)
    model.norm = Shifted(3)
    assert done(assert_optimised(model, image()))["conv"] == []

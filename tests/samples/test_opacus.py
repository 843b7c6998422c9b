"""Opacus takes the gradients of single samples of layers that torchconv computes from torchconv."""

import pytest
import torch
from torch import nn

import torchconv
from tests.compare import assert_all_near, assert_near
from tests.samples.test_per_sample import gradients, norms_of

pytestmark = pytest.mark.filterwarnings("ignore")


def opacus_net(padding_mode="zeros"):
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, padding_mode=padding_mode), nn.ReLU(),
        nn.Conv2d(8, 6, (3, 2), 2, groups=2), nn.Flatten(), nn.Linear(72, 5),
    )  # fmt: skip


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect"])
@pytest.mark.parametrize("n", [4, 0])
def test_opacus_takes_the_rule(monkeypatch, padding_mode, n):
    wrap = pytest.importorskip("opacus").GradSampleModule
    from torchconv._samples import opacus as rules

    seen = []
    grad_weights = rules.grad_weights
    monkeypatch.setattr(rules, "grad_weights", lambda *a: seen.append(1) or grad_weights(*a))
    images = torch.randn(n, 3, 8, 8)
    model = torchconv.convert(opacus_net(padding_mode))
    expected = gradients(model, lambda y, _: y.square(), (images,), torch.arange(n)) if n else None
    wrapped = wrap(model, loss_reduction="sum")
    wrapped(images).square().sum().backward()
    assert len(seen) == (2 if n else 0)
    for name, parameter in model.named_parameters():
        assert parameter.grad_sample.shape == (n, *parameter.shape)
        if n:
            assert_near(parameter.grad_sample, expected[name])


def test_opacus_keeps_its_own_rule_for_other_layers(monkeypatch):
    wrap = pytest.importorskip("opacus").GradSampleModule
    from torchconv._samples import opacus as rules

    monkeypatch.setattr(rules, "grad_weights", None)
    model = wrap(opacus_net())
    model(torch.randn(4, 3, 8, 8)).square().sum().backward()
    assert all(p.grad_sample.shape[0] == 4 for p in model.parameters())


def test_opacus_clips_by_norms_without_the_gradients():
    grad_sample = pytest.importorskip("opacus.grad_sample")
    images = torch.randn(4, 3, 8, 8)
    model = nn.Sequential(
        torchconv.Conv2d(3, 8, 3, padding=1), nn.ReLU(), torchconv.Conv2d(8, 6, 3, 2, groups=2)
    )
    expected = norms_of(gradients(model, lambda y, _: y.square(), (images,), torch.arange(4)))
    wrapped = grad_sample.GradSampleModuleFastGradientClipping(
        model, max_grad_norm=1, use_ghost_clipping=True, loss_reduction="sum"
    )
    wrapped(images).square().sum().backward()
    assert_all_near([p._norm_sample for p in model.parameters()], list(expected.values()))

"""Copies of a model that average its weights, and models without memory of their own at first."""

import copy

import pytest
import torch
from torch import nn
from torch.optim import swa_utils

import torchconv
from tests.compare import assert_near


def build(convert):
    torch.manual_seed(4)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Conv2d(4, 2, 3))
    return torchconv.convert(model.double()) if convert else model.double()


AVERAGES = {
    "mean": dict(),
    "ema": dict(multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.7)),
    "ema with buffers": dict(multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.7), use_buffers=True),
}


@pytest.mark.parametrize("name", AVERAGES)
def test_averaged_weights(name):
    results = []
    for convert in (True, False):
        model = build(convert)
        average = swa_utils.AveragedModel(model, **AVERAGES[name])
        layers = average.module[0], average.module[3]
        assert all(torchconv.is_converted(layer) == convert for layer in layers)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        torch.manual_seed(5)
        batches = torch.randn(3, 2, 3, 8, 7).double()
        for images in batches:
            optimizer.zero_grad()
            model(images).pow(2).mean().backward()
            optimizer.step()
            average.update_parameters(model)
        swa_utils.update_bn(batches, average)
        results.append((average.eval()(batches[0]), average.module[1].running_mean))
        assert not torch.equal(layers[0].weight, model[0].weight)
    for actual, expected in zip(*results, strict=True):
        assert_near(actual, expected, 1e-12)


@pytest.mark.parametrize("assign", [False, True])
def test_a_model_that_gets_its_memory_later(assign):
    """Built and converted on the meta device, as large models are."""
    expected = build(False)
    with torch.device("meta"):
        model = torchconv.convert(copy.deepcopy(expected).to("meta"))
    images = torch.randn(2, 3, 8, 7).double()
    shape = model(images.to("meta")).shape
    if not assign:
        model = model.to_empty(device="cpu")
    model.load_state_dict(copy.deepcopy(expected.state_dict()), assign=assign)
    assert all(map(torchconv.is_converted, (model[0], model[3])))
    result, wanted = model(images), expected(images)
    assert result.shape == shape
    assert_near(result, wanted, 1e-12)
    gradients = (torch.autograd.grad(y.sin().sum(), m.parameters())
                 for y, m in ((result, model), (wanted, expected)))  # fmt: skip
    for actual, other in zip(*gradients, strict=True):
        torch.testing.assert_close(actual, other, rtol=0, atol=1e-12)

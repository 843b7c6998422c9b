"""Modules that optimize leaves as they are: wrapped, lazy, quantised, without a convolution."""

import pytest
import torch
from torch import nn

import torchconv
from tests.compare import assert_near
from tests.optimize.models import done, image, randomised, reason
from tests.optimize.test_tracing import Double


@pytest.mark.parametrize(
    ("wrap", "why"),
    [
        (torch.jit.script, "TorchScript"),
        (nn.DataParallel, "wrapper (DataParallel)"),
        (torch.compile, "wrapper (OptimizedModule)"),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_wrapped_modules_are_left_alone(wrap, why):
    layers = randomised(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))
    model = nn.Sequential(wrap(layers).eval(), nn.Conv2d(3, 3, 1)).eval()
    optimised = torchconv.optimize(model)
    assert any(why in row.reason for row in torchconv.report(optimised))
    assert torchconv.is_converted(optimised[1])
    if wrap is not torch.compile:
        assert_near(optimised(image()), model(image()))
    assert not any(each == ["BatchNorm"] for each in done(optimised).values())


def test_lazy_modules():
    model = nn.Sequential(nn.LazyConv2d(3, 1), nn.LazyBatchNorm2d(), nn.Conv2d(3, 3, 1)).eval()
    optimised = torchconv.optimize(model, inplace=True)  # PyTorch cannot copy it
    assert "no weights yet" in reason(optimised, "0")
    assert optimised(image()).shape == (2, 3, 8, 8)


@pytest.mark.filterwarnings("ignore")
def test_quantised_models():
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    layers = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU()).eval()
    prepared = prepare_fx(layers, get_default_qconfig_mapping(), (image(),))
    prepared(image())
    quantised = convert_fx(prepared)
    optimised = torchconv.optimize(nn.Sequential(quantised, nn.Conv2d(3, 3, 1)).eval())
    with torch.no_grad():
        assert torch.equal(optimised[0](image()), quantised(image()))
    assert torchconv.is_converted(optimised[1])


@pytest.mark.parametrize("model", [nn.Linear(2, 2), nn.ReLU(), nn.Sequential(), Double()])
def test_models_without_convolutions(model):
    optimised = torchconv.optimize(model.eval(), torch.ones(2, 2))
    assert repr(optimised) == repr(model) and str(torchconv.report(optimised)) == "no convolutions"


def test_a_single_convolution():
    layer = nn.Conv2d(3, 3, 1).eval()
    assert torchconv.is_converted(torchconv.optimize(layer, image()))
    assert not torchconv.is_converted(layer)

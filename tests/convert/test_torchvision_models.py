"""Whole networks with every convolution swapped: same outputs, same gradients."""

import copy

import pytest
import torch
from torch import nn

import torchconv
from tests.compare import assert_near, same_layout

models = pytest.importorskip("torchvision.models")


def resnet18():
    return models.resnet18(weights=None, num_classes=10)


def mobilenet_v2():
    return models.mobilenet_v2(weights=None, num_classes=10, width_mult=0.5, dropout=0.0)


def convnext():
    """ConvNeXt-Tiny with fewer and narrower blocks: 7 x 7 depthwise convolutions, patches of 4."""
    block = models.convnext.CNBlockConfig
    stages = [block(32, 64, 1), block(64, 96, 1), block(96, None, 1)]
    return models.convnext.ConvNeXt(stages, stochastic_depth_prob=0.0, num_classes=10)


def smooth(model):
    """ReLU made SiLU: else one activation that rounds across zero changes whole gradients."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, (nn.ReLU, nn.ReLU6)):
                setattr(module, name, nn.SiLU())
    return model


def train_step(model, images, labels):
    """The gradients of all parameters and of the images."""
    images = images.clone().requires_grad_()
    nn.functional.cross_entropy(model(images), labels).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {"images": images.grad, **gradients}


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 2e-3), (torch.float64, 1e-9)], ids=str
)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("build", [resnet18, mobilenet_v2, convnext], ids=lambda f: f.__name__)
def test_swapped_networks(build, dtype, tolerance, memory_format):
    original = build().to(dtype=dtype, memory_format=memory_format)
    swapped = torchconv.convert(copy.deepcopy(original))
    layers = [module for module in swapped.modules() if isinstance(module, nn.Conv2d)]
    assert len(layers) >= 6 and all(map(torchconv.is_converted, layers))
    assert repr(swapped) == repr(original)
    original.load_state_dict(swapped.state_dict())

    images = torch.randn(4, 3, 48, 40, dtype=dtype).contiguous(memory_format=memory_format)
    with torch.no_grad():
        assert_near(swapped(images), original(images), tolerance)
    for one, other in zip(swapped.buffers(), original.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)  # running means

    labels = torch.tensor([1, 7, 0, 7])
    actual = train_step(smooth(swapped), images, labels)
    expected = train_step(smooth(original), images, labels)
    exact = train_step(copy.deepcopy(original).double(), images.double(), labels)
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    for name, gradient in expected.items():
        # Some gradients are zero but for rounding: a bias before a batch normalisation.
        scale = max(gradient.abs().max().item(), 1e-4 * largest)
        ours, theirs = (
            (value.double() - exact[name]).abs().max().item() for value in (actual[name], gradient)
        )
        assert ours <= max(tolerance * scale, 4 * theirs), name
        assert same_layout(actual[name], gradient), name

    with torch.inference_mode():
        assert_near(swapped.eval()(images), original.eval()(images), tolerance)

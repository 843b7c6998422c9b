"""The whole models that are measured in inference: random weights, but activations as large as
those of trained ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

NAMES = (
    "resnet18", "resnet50", "vgg11", "mobilenet_v2", "efficientnet_b0", "regnet_y_400mf",
    "convnext_tiny",
)  # fmt: skip
SIZE = 224


def known() -> list[str]:
    """The classification networks of torchvision."""
    from torchvision import models

    return models.list_models(module=models)


def build(name: str) -> nn.Module:
    """A model of torchvision in eval mode, the same for each call."""
    from torchvision import models

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return settled(models.get_model(name, weights=None), images(4))


def images(batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 3, SIZE, SIZE, generator=generator)


@torch.no_grad()
def settled(model: nn.Module, x: Tensor) -> nn.Module:
    """Gives `model` random normalisations, with the statistics of what `x` becomes.

    Left as they are drawn, some models let their input fade to nothing, or add nothing to it in
    their blocks, so that a wrong result would be a right one."""
    norms = [layer for layer in model.eval().modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in norms:
        layer.train()
        layer.momentum = 1.0  # what is measured takes the place of what was there
        if layer.affine:
            layer.weight.uniform_(0.5, 1.5)
            layer.bias.normal_(0, 0.1)
    for name, parameter in model.named_parameters():
        if name.endswith("layer_scale"):  # of ConvNeXt, 1e-6 before training
            parameter.uniform_(0.1, 0.5)
    model(x)
    for layer in norms:
        layer.momentum = 0.1
    return model.eval()

"""Convolutions that keep their weights packed for the next call."""

from torch import nn

from torchconv._activations.layer import ConvActivation2d
from torchconv._kept_weights import keep_packed
from torchconv._optimize.like import like
from torchconv._optimize.modules import why_not_fused
from torchconv._optimize.residual import ResidualConv2d
from torchconv._optimize.state import become


def keep(layer: nn.Conv2d) -> None:
    """Lets a layer keep its packed weight if it is what its class says."""
    if not isinstance(layer, ResidualConv2d) and why_not_fused(layer) is not None:
        return
    if not isinstance(layer, ConvActivation2d):
        weight, bias = layer.weight, layer.bias
        become(layer, like(layer, ConvActivation2d, layer.padding, activation=None))
        layer.weight, layer.bias = weight, bias
    keep_packed(layer)

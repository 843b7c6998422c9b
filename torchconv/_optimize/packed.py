"""Convolutions that keep their weights packed for the next call."""

from torch import nn

from torchconv._conv_activation import ConvActivation2d
from torchconv._kept_weights import keep_packed
from torchconv._optimize.modules import why_not_fused
from torchconv._optimize.residual import ResidualConv2d
from torchconv._optimize.state import become
from torchconv._report import note, noted


def keep(layer: nn.Conv2d) -> None:
    """Lets a layer keep its packed weight if it is what its class says."""
    if not isinstance(layer, ResidualConv2d) and why_not_fused(layer) is not None:
        return
    if not isinstance(layer, ConvActivation2d):
        weight, bias = layer.weight, layer.bias
        become(layer, _without_activation(layer))
        layer.weight, layer.bias = weight, bias
    keep_packed(layer)


def _without_activation(layer: nn.Conv2d) -> ConvActivation2d:
    """A layer like it, without weights; on the meta device nothing is drawn."""
    other = ConvActivation2d(
        layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding,
        layer.dilation, layer.groups, False, layer.padding_mode, device="meta", activation=None,
    )  # fmt: skip
    if getattr(layer, "winograd", None) is not None:
        vars(other)["winograd"] = layer.winograd
    known = noted(layer)
    note(other, done=known.done, reason=known.reason, output_size=known.output_size)
    return other.eval()

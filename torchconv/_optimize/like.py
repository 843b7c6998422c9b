"""A layer in the place of a convolution that does more."""

from typing import Any

from torch import nn

from torchconv._activations.layer import ConvActivation2d
from torchconv._report import note, noted


def like(
    layer: nn.Conv2d, kind: type[ConvActivation2d], padding: Any, **options: Any
) -> ConvActivation2d:
    """One of class ``kind`` that is otherwise as ``layer``, without weights.

    It is made on the meta device, where nothing is drawn at random.
    """
    other = kind(
        layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, padding,
        layer.dilation, layer.groups, False, layer.padding_mode, device="meta", **options,
    )  # fmt: skip
    if getattr(layer, "winograd", None) is not None:
        vars(other)["winograd"] = layer.winograd
    known = noted(layer)
    note(other, done=known.done, reason=known.reason, output_size=known.output_size)
    return other.eval()

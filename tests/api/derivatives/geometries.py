"""Small convolutions in float64 for tests of derivatives."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import torchconv

GEOMETRIES = {
    "plain": dict(),
    "stride": dict(stride=(2, 1)),
    "stride drops pixels": dict(stride=3),
    "padding": dict(padding=(1, 2)),
    "dilation": dict(dilation=(2, 1), padding=1),
    "groups": dict(groups=2, padding=1),
    "depthwise": dict(groups=4),
    "same, uneven": dict(padding="same"),
}


def arguments(
    groups: int = 1, n: int = 2, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    """Input [n, 4, 5, 6], weight [4, 4 / groups, 2, 3] and bias [4] that need gradients."""
    tensors = (torch.randn(n, 4, 5, 6), torch.randn(4, 4 // groups, 2, 3), torch.randn(4))
    return tuple(tensor.to(dtype).requires_grad_() for tensor in tensors)


def conv(geometry: dict[str, Any], function: Callable[..., Tensor] = torchconv.conv2d) -> Any:
    """A function of input, weight and bias."""
    return lambda input, weight, bias=None: function(input, weight, bias, **geometry)

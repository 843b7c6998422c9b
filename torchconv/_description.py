"""A module in a few words, for tables."""

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd


def describe(module: nn.Module) -> str:
    """Such as ``"Conv2d(3, 64, kernel 7x7, stride 2x2)"``."""
    kind = type(module).__name__
    if isinstance(module, _BatchNorm):
        return f"{kind}({module.num_features})"
    if isinstance(module, nn.Linear):
        return f"{kind}({module.in_features}, {module.out_features})"
    if not isinstance(module, _ConvNd):
        return kind
    text = f"{kind}({module.in_channels}, {module.out_channels}, kernel {by(module.kernel_size)}"
    if set(module.stride) != {1}:
        text += f", stride {by(module.stride)}"
    if module.groups > 1:
        text += f", {module.groups} groups"
    return text + ")"


def by(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))

"""The activations that a convolution may end with: their names, numbers, and ATen's functions."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# In the order of enum Activation in csrc/cpu/plan.h.
NAMES = ("none", "relu", "relu6", "silu", "hardswish", "gelu", "sigmoid", "leaky_relu")
NONE, RELU, RELU6, SILU, HARDSWISH, GELU, SIGMOID, LEAKY_RELU = range(len(NAMES))

# What ATen computes, of sums before the activation and the slope of leaky_relu.
ATEN: tuple[Callable[[Tensor, float], Tensor], ...] = (
    lambda x, slope: x,
    lambda x, slope: F.relu(x),
    lambda x, slope: F.relu6(x),
    lambda x, slope: F.silu(x),
    lambda x, slope: F.hardswish(x),
    lambda x, slope: F.gelu(x),
    lambda x, slope: torch.sigmoid(x),
    lambda x, slope: F.leaky_relu(x, slope),
)


def activated(sums: Tensor, residual: Tensor | None, activation: int, slope: float) -> Tensor:
    """activation(sums + residual), as ATen computes it."""
    return ATEN[activation](sums if residual is None else sums + residual, slope)


def activate(input: Tensor, residual: Tensor | None, activation: int, slope: float) -> Tensor:
    """The same as an operator, which never returns its input itself."""
    unchanged = activation == NONE and residual is None
    return activated(input.clone() if unchanged else input, residual, activation, slope)


def ending(conv2d: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``conv2d_activation``, with the arguments of the operator, made of a ``conv2d`` and ATen."""

    def conv2d_activation(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        residual: Tensor | None,
        geometry: Sequence[int],
        activation: int,
        slope: float,
        packed: Tensor | None = None,
    ) -> Tensor:
        return activated(conv2d(input, weight, bias, geometry), residual, activation, slope)

    return conv2d_activation

"""The activations that a convolution may end with: their names, numbers, and ATen's functions."""

from collections.abc import Callable

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

"""A convolution whose result is passed on through a residual addition and an activation."""

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor

from torchconv import functional
from torchconv._winograd import Winograd
from torchconv.functional import Ints

Activation = Literal["relu", "relu6", "silu", "hardswish", "gelu", "sigmoid", "leaky_relu"]

# Their numbers in the operators are their places here.
NAMES = ("none", *get_args(Activation))


def conv2d_activation(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    activation: Activation | None = "relu",
    slope: float = 0.01,
    residual: Tensor | None = None,
    winograd: Winograd | None = None,
) -> Tensor:
    result = functional.conv2d(
        input, weight, bias, stride, padding, dilation, groups, winograd=winograd
    )
    if residual is not None:
        result = result + residual
    return apply_activation(result, activation, slope)


def apply_activation(x: Tensor, activation: Activation | None, slope: float) -> Tensor:
    if activation is None:
        return x
    if activation == "leaky_relu":
        return F.leaky_relu(x, slope)
    return getattr(F, activation)(x) if activation != "sigmoid" else x.sigmoid()

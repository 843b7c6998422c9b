"""The weight gradient of a layer for each sample, of its input and the gradient of its output."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from torchconv import _padding, _winograd, functional
from torchconv._config import reason_for_aten
from torchconv._operators import aten, autograd_each, below
from torchconv._operators.each_in_groups import grad_weight_within, squares_within

_Product = Callable[..., Tensor]
_weights_by_aten = grad_weight_within(aten.conv2d_grad_weight)
_squares_by_aten = squares_within(aten.conv2d_grad_weight)


def grad_weights(layer: nn.Conv2d, input: Tensor, grad: Tensor) -> Tensor:
    """[n, c, h, w] and [n, k, p, q] give [n, *weight.shape]."""
    return _product(autograd_each.conv2d_each_grad_weight, _weights_by_aten, layer, input, grad)


def grad_weight_squares(layer: nn.Conv2d, input: Tensor, grad: Tensor) -> Tensor:
    """The sum of the squares of each of them, [n] in float64, without keeping them."""
    return _product(below.grad_weight_squares, _squares_by_aten, layer, input, grad)


def _product(ours: _Product, atens: _Product, layer: Any, input: Tensor, grad: Tensor) -> Tensor:
    input, weight = input.to(grad.dtype), layer.weight.detach().to(grad.dtype)  # of autocast
    mode = getattr(layer, "winograd", None)
    flags = _winograd.CHOSEN.get() if mode is None else _winograd.flags(mode)
    geometry = functional.resolve(
        input, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups,
        flags + _padding.flags(layer.padding_mode),
    )  # fmt: skip
    product = ours if reason_for_aten(input, weight, None) is None else atens
    return product(grad.unsqueeze(1), input.unsqueeze(1), weight.shape, geometry)

"""Shape, dtype and strides of the operators without computing them.

Used on the meta device and wherever torch.compile or torch.export run on fake tensors. Sizes may
be symbolic. Nothing here asks ``aten::convolution``, whose fake loses channels-last strides.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchconv._operators.results import empty, empty_each, output_size


@torch.library.register_fake("torchconv::conv2d")
def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: Sequence[int],
) -> Tensor:
    size = output_size(input.shape, weight.shape, geometry)
    return empty(input, size, geometry)


@torch.library.register_fake("torchconv::conv2d_int32")
def _conv2d_int32(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: Sequence[int],
) -> Tensor:
    return _conv2d(input, weight, bias, geometry).to(torch.int32)


@torch.library.register_fake("torchconv::conv2d_activation")
def _conv2d_activation(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    geometry: Sequence[int],
    *_: Any,
    **__: Any,
) -> Tensor:
    return _conv2d(input, weight, bias, geometry)


@torch.library.register_fake("torchconv::conv2d_grad_input")
def _conv2d_grad_input(
    grad: Tensor,
    weight: Tensor,
    input_size: Sequence[int],
    geometry: Sequence[int],
) -> Tensor:
    return empty(grad, input_size, geometry)


@torch.library.register_fake("torchconv::conv2d_grad_weight")
def _conv2d_grad_weight(
    grad: Tensor,
    input: Tensor,
    weight_size: Sequence[int],
    geometry: Sequence[int],
) -> Tensor:
    return empty(grad, weight_size, geometry)


@torch.library.register_fake("torchconv::conv2d_each")
def _conv2d_each(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: Sequence[int],
) -> Tensor:
    size = output_size(input.shape[1:], weight.shape[1:], geometry)
    return empty_each(input, size, geometry)


@torch.library.register_fake("torchconv::conv2d_each_grad_input")
def _conv2d_each_grad_input(
    grad: Tensor,
    weight: Tensor,
    input_size: Sequence[int],
    geometry: Sequence[int],
) -> Tensor:
    return empty_each(grad, input_size, geometry)


@torch.library.register_fake("torchconv::conv2d_each_grad_weight")
def _conv2d_each_grad_weight(
    grad: Tensor,
    input: Tensor,
    weight_size: Sequence[int],
    geometry: Sequence[int],
) -> Tensor:
    return empty_each(grad, weight_size, geometry)


@torch.library.register_fake("torchconv::_grad_weight_squares")
def _grad_weight_squares(
    grad: Tensor,
    input: Tensor,
    weight_size: Sequence[int],
    geometry: Sequence[int],
) -> Tensor:
    return grad.new_empty(grad.shape[0], dtype=torch.float64)


@torch.library.register_fake("torchconv::activate")
def _activate(input: Tensor, residual: Tensor | None, activation: int, slope: float) -> Tensor:
    return torch.empty_like(input)


@torch.library.register_fake("torchconv::conv2d_backward")
def _conv2d_backward(
    grad: Tensor,
    input: Tensor,
    weight: Tensor | None,
    weight_size: Sequence[int],
    geometry: Sequence[int],
    bias_needed: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        grad.new_empty(0) if weight is None else empty(grad, input.shape, geometry),
        empty(grad, weight_size, geometry),
        grad.new_empty(weight_size[0] if bias_needed else 0),
    )

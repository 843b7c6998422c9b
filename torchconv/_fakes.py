"""Shape, dtype and strides of the operators without computing them.

Used on the meta device and wherever torch.compile or torch.export run on fake tensors. Sizes may
be symbolic. Nothing here asks ``aten::convolution``, whose fake loses channels-last strides.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchconv._arguments import output_extent


def output_size(
    input_size: Sequence[int],
    weight_size: Sequence[int],
    geometry: Sequence[int],
) -> tuple[int, int, int, int]:
    """[n, c, h, w] and [k, c / groups, r, s] give [n, k, p, q]."""
    n, _, h, w = input_size
    k, _, r, s = weight_size
    stride_h, stride_w, top, bottom, left, right, dilation_h, dilation_w, *_ = geometry
    p = output_extent(h, r, stride_h, top + bottom, dilation_h)
    q = output_extent(w, s, stride_w, left + right, dilation_w)
    return n, k, p, q


def empty(like: Tensor, size: Sequence[int], geometry: Sequence[int]) -> Tensor:
    """An uninitialised dense tensor with dtype and device of ``like``."""
    memory_format = torch.channels_last if geometry[-1] & 1 else torch.contiguous_format
    return torch.empty(size, dtype=like.dtype, device=like.device, memory_format=memory_format)


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

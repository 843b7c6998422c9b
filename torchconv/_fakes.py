"""Shape, dtype and strides of the three operators without computing them.

Used on the meta device and wherever torch.compile or torch.export run on fake tensors. Sizes may
be symbolic. Nothing here asks ``aten::convolution``, whose fake loses channels-last strides.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from torchconv._arguments import output_extent


def output_size(
    input_size: Sequence[int],
    weight_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> tuple[int, int, int, int]:
    """[n, c, h, w] and [k, c / groups, r, s] give [n, k, p, q]."""
    n, _, h, w = input_size
    k, _, r, s = weight_size
    top, bottom, left, right = padding
    p = output_extent(h, r, stride[0], top + bottom, dilation[0])
    q = output_extent(w, s, stride[1], left + right, dilation[1])
    return n, k, p, q


def empty(like: Tensor, size: Sequence[int], channels_last: bool) -> Tensor:
    """An uninitialised dense tensor with dtype and device of ``like``."""
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(size, dtype=like.dtype, device=like.device, memory_format=memory_format)


@torch.library.register_fake("torchconv::conv2d")
def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    channels_last: bool,
) -> Tensor:
    size = output_size(input.shape, weight.shape, stride, padding, dilation)
    return empty(input, size, channels_last)


@torch.library.register_fake("torchconv::conv2d_grad_input")
def _conv2d_grad_input(
    grad: Tensor,
    weight: Tensor,
    input_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    channels_last: bool,
) -> Tensor:
    return empty(grad, input_size, channels_last)


@torch.library.register_fake("torchconv::conv2d_grad_weight")
def _conv2d_grad_weight(
    grad: Tensor,
    input: Tensor,
    weight_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    channels_last: bool,
) -> Tensor:
    return empty(grad, weight_size, channels_last)

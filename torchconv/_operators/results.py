"""Size and memory of what the operators return. Sizes may be symbolic."""

from collections.abc import Sequence

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


def empty_each(like: Tensor, size: Sequence[int], geometry: Sequence[int]) -> Tensor:
    """As many uninitialised tensors of that size as ``like`` has rows, one after the other."""
    n, c, h, w = size
    c_least, h_least, w_least = (torch.sym_max(extent, 1) for extent in (c, h, w))
    image = c_least * h_least * w_least
    strides = (image, 1, w_least * c_least, c_least)
    if not geometry[-1] & 1:
        strides = (image, h_least * w_least, w_least, 1)
    strides = (image * torch.sym_max(n, 1), *strides)
    return like.new_empty_strided((like.shape[0], *size), strides)

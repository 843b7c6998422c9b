"""The geometry of a call, the last argument of the operators, from checked arguments."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchconv import _arguments, _padding
from torchconv._arguments import is_empty, pair, suggests_channels_last
from torchconv._autocast import autocast

Ints = int | Sequence[int]


def resolved(
    input: Tensor, weight: Tensor, bias: Tensor | None, *options: Any
) -> tuple[Tensor, Tensor, Tensor | None, tuple[int, ...]]:
    """A batch, weight and bias, cast where autocast is on, and the geometry."""
    device = input.device.type
    if device in ("cpu", "cuda") and torch.is_autocast_enabled(device):
        input, weight, bias = autocast(input, weight, bias, device)
    if input.dim() == 3:
        input = input.unsqueeze(0)
    return input, weight, bias, resolve(input, weight, bias, *options)


def resolve(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Ints | str,
    dilation: Ints,
    groups: int,
    flags: int = 0,
    one_dtype: bool = True,
) -> tuple[int, ...]:
    """Checks everything and returns the geometry, the last argument of the operators.

    That is: stride, padding (top, bottom, left, right), dilation, groups, and the flags with 1 if
    the result is channels last, the memory format in which aten::convolution computes.
    """
    stride_h, stride_w = stride = pair(stride, "stride")
    dilation_h, dilation_w = dilation = pair(dilation, "dilation")
    if type(groups) is not int:
        groups = _arguments.integer(groups, "groups")
    try:
        n, c, h, w = input.shape
        k, group_channels, r, s = weight.shape
    except ValueError:
        _arguments.refuse_rank(input, weight)
    if type(padding) is int and 0 <= padding < _arguments.SMALL:
        top = bottom = left = right = padding
    else:
        sides = _arguments.sides(padding, (h, w), (r, s), stride, dilation)
        top, bottom, left, right = sides
    dtype = input.dtype
    if (
        stride_h < 1
        or stride_w < 1
        or dilation_h < 1
        or dilation_w < 1
        or top < 0
        or bottom < 0
        or left < 0
        or right < 0
        or groups < 1
        or r < 1
        or s < 1
        or c != group_channels * groups
        or k < groups
        or k % groups != 0
        or h + top + bottom <= dilation_h * (r - 1)
        or w + left + right <= dilation_w * (s - 1)
        or ((h < 1 or w < 1) and n > 0)
        or (weight.dtype is not dtype and one_dtype)
        or (bias is not None and (bias.dtype is not dtype or bias.shape != (k,)))
    ):
        sides = (top, bottom, left, right)
        weight = weight if one_dtype else weight.to(dtype)  # whose dtype is not what is wrong
        _arguments.refuse(input, weight, bias, stride, sides, dilation, groups)
    # A tensor that is plainly contiguous, as almost all are, is told by its first comparison.
    strides, weight_strides = input.stride(), weight.stride()
    channels_last = (
        strides[3] >= strides[1] * c and suggests_channels_last(input.shape, strides)
    ) or (
        weight_strides[3] >= weight_strides[1] * group_channels
        and suggests_channels_last(weight.shape, weight_strides)
        and not is_empty(n)
    )
    geometry = (
        stride_h, stride_w, top, bottom, left, right, dilation_h, dilation_w, groups,
        flags + 1 if channels_last else flags,
    )  # fmt: skip
    if flags >= _padding.FLAG:
        _padding.refuse_too_wide(geometry, (h, w))
    return geometry

"""``conv1d``: a 2-d convolution of images with one row, which are views of the sequences."""

import functools
from collections.abc import Sequence

from torch import Tensor
from torch.overrides import has_torch_function_variadic

from torchconv import _arguments, _padding, _winograd
from torchconv._arguments import single, suggests_channels_last
from torchconv._integrations.overrides import overridden
from torchconv._operators import autograd
from torchconv._relatives.asked import cast, left_to_torch

Ints = int | Sequence[int]


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
) -> Tensor:
    r"""Applies a 1-d convolution (a cross-correlation) over a sequence of several channels.

    Equivalent to :func:`torch.nn.functional.conv1d`, including errors, autocast and derivatives
    of every order.

    Args:
        input: ``(n, c, w)``, or one sequence ``(c, w)``; float32, float64, bfloat16 or float16 on
            the CPU. Other tensors are passed to :func:`torch.nn.functional.conv1d`.
        weight: ``(k, c / groups, s)``, same dtype and device.
        bias: ``(k,)`` or None.
        stride: step of the kernel, an int or a list of one.
        padding: zeros on each side, an int or ``(left, right)``; or ``'valid'`` (none) or
            ``'same'`` (output of ``ceil(w / stride)``, as TensorFlow and Keras pad; an odd total
            goes to the end).
        dilation: distance between kernel elements.
        groups: channels are split into this many groups that do not mix.
        padding_mode: as of :func:`torchconv.conv2d`.

    Returns:
        ``(n, k, q)`` or ``(k, q)``.

    Raises:
        RuntimeError: shapes, dtypes or values do not fit together.
        TypeError: an argument has a wrong type.
        ValueError: there is no such mode of padding.

    Example:
        >>> import torch
        >>> steps = torch.tensor([[1.0, 4.0, 9.0, 16.0]])
        >>> conv1d(steps, torch.tensor([[[-1.0, 1.0]]]))
        tensor([[3., 5., 7.]])
        >>> conv1d(steps, torch.ones(2, 1, 3), padding="same").shape
        torch.Size([2, 4])
    """
    if has_torch_function_variadic(input, weight, bias):
        tensors = input, weight, bias
        namesake, mode = _padding.conv1d, {}
        if padding_mode != "zeros":
            mode = {"padding_mode": padding_mode}
            namesake = functools.partial(namesake, **mode)
        return overridden(conv1d, namesake, tensors, stride, padding, dilation, groups, **mode)
    flags = 0 if padding_mode == "zeros" else _padding.flags(padding_mode, "conv1d")
    if left_to_torch(input, weight, bias, "conv1d"):
        return _padding.conv1d(
            input, weight, bias, stride, padding, dilation, groups, padding_mode=padding_mode
        )
    input, weight, bias = cast(input, weight, bias)
    if input.dim() == 2:
        batch = conv1d(
            input.unsqueeze(0), weight, bias, stride, padding, dilation, groups,
            padding_mode=padding_mode,
        )  # fmt: skip
        return batch.squeeze(0)
    geometry = resolve(input, weight, bias, stride, padding, dilation, groups, flags)
    # As in PyTorch, the order in which a sequence lies in memory does not reach the result.
    images = input.contiguous().unsqueeze(2)  # [n, c, 1, w]
    return autograd.conv2d(images, weight.unsqueeze(2), bias, geometry).squeeze(2)


def resolve(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Ints | str,
    dilation: Ints,
    groups: int,
    mode: int = 0,
) -> tuple[int, ...]:
    """Checks everything and returns the geometry of the 2-d convolution."""
    step = single(stride, "stride", "conv1d")
    gap = single(dilation, "dilation", "conv1d")
    if type(groups) is not int:
        groups = _arguments.integer(groups, "groups", "conv1d")
    if input.dim() != 3 or weight.dim() != 3:
        _arguments.refuse_rank(input, weight, "conv1d", 3)
    n, c, w = input.shape
    k, group_channels, s = weight.shape
    if type(padding) is int:
        left = right = padding
    else:
        left, right = _arguments.sides(padding, (w,), (s,), (step,), (gap,), "conv1d")
    dtype = input.dtype
    if (
        step < 1
        or gap < 1
        or left < 0
        or right < 0
        or groups < 1
        or c != group_channels * groups
        or k < groups
        or k % groups != 0
        or w + left + right <= gap * (s - 1)
        or (w < 1 and n > 0)
        or weight.dtype is not dtype
        or (bias is not None and (bias.dtype is not dtype or bias.shape != (k,)))
    ):
        sides = left, right
        _arguments.refuse(input, weight, bias, (step,), sides, (gap,), groups, "conv1d")
    # A weight that is plainly contiguous, as almost all are, is told by its first comparison.
    strides = weight.stride()
    channels_last = (
        strides[2] >= strides[1] * group_channels
        and suggests_channels_last(
            (k, group_channels, 1, s), (*strides[:2], strides[2] * s, strides[2])
        )
        and not _arguments.is_empty(n)
    )
    flags = _winograd.CHOSEN.get() + mode + (1 if channels_last else 0)
    geometry = 1, step, 0, 0, left, right, 1, gap, groups, flags
    if mode:
        _padding.refuse_too_wide(geometry, (1, w), "conv1d")
    return geometry

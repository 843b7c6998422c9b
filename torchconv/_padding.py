"""Padding that PyTorch's own convolutions do not take, as ``F.pad`` before them.

The four sides one by one, 'same' with a stride, and modes other than zeros. On the CPU the
operators take them all: the mode is a flag of their geometry (csrc/library.cpp).
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torchconv import _arguments

MODES = ("zeros", "reflect", "replicate", "circular")
FLAG = 128  # of the geometry, times the number of a mode


def flags(mode: Any, function: str = "conv2d") -> int:
    """The flags of a mode.

    Raises:
        ValueError: as the constructor of ``nn.Conv2d``, if there is no such mode.
    """
    if mode not in MODES:
        raise ValueError(f"{function}(): padding_mode must be one of {MODES}, but got {mode!r}")
    return FLAG * MODES.index(mode)


def mode_of(geometry: Sequence[int]) -> str:
    """The mode that the flags of a geometry say."""
    return MODES[geometry[-1] // FLAG & 3]


def refuse_too_wide(geometry: Sequence[int], size: Sequence[int], function: str = "conv2d") -> None:
    """Raises RuntimeError, as ``F.pad``, where an input has too few elements to repeat."""
    mode = mode_of(geometry)
    for extent, before, after in zip(size, geometry[2:6:2], geometry[3:6:2], strict=True):
        widest = max(before, after)
        most = {"reflect": extent - 1, "circular": extent}.get(mode, widest)
        if mode != "zeros" and max(geometry[2:6]) > 0 and (widest > most or extent < 1):
            raise RuntimeError(
                f"{function}(): padding_mode={mode!r} takes at most {most} elements of {extent} "
                f"to each side, but got padding={_arguments.by_side(geometry[2:6])} and an input "
                f"of size {list(size)}"
            )


def needs_pad(padding: Any, stride: Any, mode: str = "zeros", dimensions: int = 2) -> bool:
    """Whether convolutions of PyTorch need ``F.pad`` before them to do the same."""
    if mode != "zeros" or _arguments.lists_sides(padding, dimensions):
        return True
    steps = stride if isinstance(stride, (tuple, list)) else (stride,)
    return padding == "same" and any(step != 1 for step in steps)


def depends_on_unknown_size(input: Tensor, padding: Any, stride: Any) -> bool:
    """Whether padding is not known before a graph runs: its geometry would hold for one size."""
    return needs_pad(padding, stride) and any(type(size) is not int for size in input.shape[-2:])


def pad(input: Tensor, sides: Sequence[int], mode: str) -> Tensor:
    """``sides`` are those before and after each spatial dimension, in one row."""
    return F.pad(input, _arguments.by_side(sides), mode="constant" if mode == "zeros" else mode)


def pad_in_operators(input: Tensor, sides: Sequence[int], mode: str) -> Tensor:
    """The same of images, in standard operators that need no further decomposition."""
    top, bottom, left, right = sides
    aten = torch.ops.aten
    if mode == "circular":
        h, w = input.shape[2:]
        rows = torch.cat([input[:, :, h - top :], input, input[:, :, :bottom]], 2)
        return torch.cat([rows[..., w - left :], rows, rows[..., :right]], 3)
    extents = [left, right, top, bottom]
    if mode == "zeros":
        return aten.constant_pad_nd.default(input, extents)
    if mode == "reflect":
        return aten.reflection_pad2d.default(input, extents)
    return aten.replication_pad2d.default(input, extents)


def unpad(grad: Tensor, size: Sequence[int], sides: Sequence[int], mode: str) -> Tensor:
    """The adjoint of ``pad`` in standard operators: the gradient of an input of ``size``."""
    (h, w), (top, bottom, left, right) = size[2:], sides
    if mode == "zeros" or not any(sides):
        return grad[:, :, top : top + h, left : left + w]
    if mode == "circular":
        rows = grad[:, :, top : top + h]
        rows = rows + F.pad(grad[:, :, :top], (0, 0, h - top, 0))
        rows = rows + F.pad(grad[:, :, top + h :], (0, 0, 0, h - bottom))
        columns = rows[..., left : left + w] + F.pad(rows[..., :left], (w - left, 0))
        return columns + F.pad(rows[..., left + w :], (0, w - right))
    backward = (
        torch.ops.aten.reflection_pad2d_backward.default
        if mode == "reflect"
        else torch.ops.aten.replication_pad2d_backward.default
    )
    return backward(grad, grad.new_empty(size), [left, right, top, bottom])


def padded(
    input: Tensor, weight: Tensor, stride: Any, padding: Any, dilation: Any, mode: str
) -> Tensor:
    """The input of ``conv2d`` with its padding."""
    steps, gaps = _arguments.pair(stride, "stride"), _arguments.pair(dilation, "dilation")
    size, kernel = input.shape[-2:], weight.shape[-2:]
    return pad(input, _arguments.sides(padding, size, kernel, steps, gaps), mode)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
) -> Tensor:
    """What ``torchconv.conv2d`` computes, by PyTorch."""
    if needs_pad(padding, stride, padding_mode):
        input, padding = padded(input, weight, stride, padding, dilation, padding_mode), 0
    return F.conv2d(input, weight, bias, stride, padding, dilation, groups)


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
) -> Tensor:
    """What ``torchconv.conv1d`` computes, by PyTorch."""
    if needs_pad(padding, stride, padding_mode, dimensions=1):
        step = _arguments.single(stride, "stride", "conv1d")
        gap = _arguments.single(dilation, "dilation", "conv1d")
        axis = input.shape[-1:], weight.shape[-1:], (step,), (gap,)
        input, padding = pad(input, _arguments.sides(padding, *axis, "conv1d"), padding_mode), 0
    return F.conv1d(input, weight, bias, stride, padding, dilation, groups)


def pad_scripted(
    input: Tensor,
    kernel_size: list[int],
    stride: list[int],
    dilation: list[int],
    same: bool,
    sides: list[int],
    mode: str,
) -> Tensor:
    """The input with its padding where TorchScript compiles the call: ``sides`` or those of 'same'.

    TorchScript knows no ``Sequence`` and no function with values of several types.
    """
    if same:
        sides = []
        for i in range(len(kernel_size)):
            axis = len(kernel_size) - 1 - i
            size, step = input.size(axis - len(kernel_size)), stride[axis]
            total = dilation[axis] * (kernel_size[axis] - 1)
            if step > 1:
                total = max((size - 1) // step * step + 1 + total - size, 0)
            sides += [total // 2, total - total // 2]
    if mode == "zeros":
        return F.pad(input, sides)
    return F.pad(input, sides, mode=mode)

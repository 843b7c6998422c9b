"""``conv3d``: where one of the kernel's extents is 1, a 2-d convolution of views of the volumes."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import has_torch_function_variadic

from torchconv._integrations.overrides import overridden
from torchconv._relatives.asked import cast, left_to_torch

Ints = int | Sequence[int]
Three = tuple[int, int, int]

# Pixels: below kDirectColumns of csrc/cpu/common/cost_model.h; of slices that repay other rows.
LONGEST_ROW = 95
SLICE, SLICE_IN_TRAINING = 512, 1024


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    r"""Applies a 3-d convolution (a cross-correlation) over a volume of several channels.

    Equivalent to :func:`torch.nn.functional.conv3d`, including errors, memory format, autocast and
    derivatives of every order. torchconv computes, without a copy of the input:

    - kernels ``t x 1 x 1`` that neither stride nor pad height and width, of contiguous or
      ``channels_last_3d`` volumes: each volume is an image of ``d`` rows of ``h * w`` pixels, or of
      ``d * h`` rows of ``w`` pixels and a dilated kernel;
    - kernels ``1 x r x s`` that neither stride nor pad the depth, of ``channels_last_3d`` volumes
      or of volumes with a depth of 1: each slice is an image.

    These are the two halves of a (2+1)d layer. All other calls are passed to
    :func:`torch.nn.functional.conv3d`.

    Args:
        input: ``(n, c, d, h, w)``, or one volume ``(c, d, h, w)``.
        weight: ``(k, c / groups, t, r, s)``, same dtype and device.
        bias: ``(k,)`` or None.
        stride: step of the kernel, an int or three ``(depth, height, width)``.
        padding: zeros on each side, an int or three; or ``'valid'`` (none) or ``'same'`` (output
            as large as the input, needs stride 1).
        dilation: distance between kernel elements, an int or three.
        groups: channels are split into this many groups that do not mix.

    Returns:
        ``(n, k, o, p, q)`` or ``(k, o, p, q)``.

    Raises:
        RuntimeError: shapes, dtypes or values do not fit together.
        TypeError: an argument has a wrong type.

    Example:
        >>> import torch
        >>> film = torch.randn(2, 3, 8, 32, 32).contiguous(memory_format=torch.channels_last_3d)
        >>> conv3d(film, torch.randn(16, 3, 1, 3, 3), padding=(0, 1, 1)).shape
        torch.Size([2, 16, 8, 32, 32])
        >>> conv3d(film, torch.randn(16, 3, 3, 1, 1), stride=(2, 1, 1)).shape
        torch.Size([2, 16, 3, 32, 32])
    """
    if has_torch_function_variadic(input, weight, bias):
        tensors = input, weight, bias
        return overridden(conv3d, F.conv3d, tensors, stride, padding, dilation, groups)
    if left_to_torch(input, weight, bias, "conv3d"):
        return F.conv3d(input, weight, bias, stride, padding, dilation, groups)  # type: ignore
    if input.dim() == 4:
        batch = conv3d(input.unsqueeze(0), weight, bias, stride, padding, dilation, groups)
        return batch.squeeze(0)
    call = as_2d(*cast(input, weight, bias), stride, padding, dilation, groups)
    if isinstance(call, str):
        return F.conv3d(input, weight, bias, stride, padding, dilation, groups)  # type: ignore
    return call.volumes()


class As2d(NamedTuple):
    """A call as one of ``conv2d``."""

    arguments: tuple[Any, ...]
    restored: Callable[[Tensor, torch.Size, bool], Tensor]
    size: torch.Size
    is_last: bool

    def volumes(self) -> Tensor:
        from torchconv import functional

        return self.restored(functional.conv2d(*self.arguments), self.size, self.is_last)


def as_2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
) -> As2d | str:
    """What computes a batch of volumes, or why PyTorch does."""
    sizes = _sizes(input, weight, bias, stride, padding, dilation, groups)
    if sizes is None:
        return "conv3d of torchconv does not take arguments of this form"
    (steps, sides, gaps), (t, r, s) = sizes, weight.shape[2:]
    # A result is in the memory format of the weight, too, whose input would be copied.
    if _is_last(weight) and not _is_last(input):
        return "the weight is in channels_last_3d and the input is not"
    if (r, s) == (1, 1) and steps[1:] == (1, 1) and sides[1:] == (0, 0):
        return _over_depth(_dense(input), weight, bias, steps, sides, gaps, groups)
    if t == 1 and steps[0] == 1 and sides[0] == 0:
        volumes = _dense(input)
        if _has_slices(volumes):
            return _over_slices(volumes, weight, bias, steps, sides, gaps, groups)
        return (
            "torchconv computes kernels 1 x r x s of channels_last_3d volumes, this is contiguous"
        )
    if t == 1:
        return "torchconv computes kernels 1 x r x s that neither stride nor pad the depth"
    if (r, s) == (1, 1):
        return "torchconv computes kernels t x 1 x 1 that neither stride nor pad height and width"
    return "torchconv computes kernels t x 1 x 1 and 1 x r x s"


def _three(value: Any) -> Three | None:
    """A value for each dimension, or None for what PyTorch refuses or reads in another way."""
    values = (value,) * 3 if type(value) is int else value
    if isinstance(values, (tuple, list)) and len(values) == 3:
        first, second, third = values
        if type(first) is int and type(second) is int and type(third) is int:
            return first, second, third
    return None


def _sizes(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
) -> tuple[Three, Three, Three] | None:
    """Stride, padding and dilation of a call that is right, or None."""
    if input.dim() != 5 or weight.dim() != 5 or type(groups) is not int or groups < 1:
        return None
    steps, gaps = _three(stride), _three(dilation)
    if steps is None or gaps is None or min(*steps, *gaps) < 1:
        return None
    kernel = weight.shape[2:]
    sides = (0, 0, 0) if padding == "valid" else _three(padding)
    if padding == "same" and max(steps) == 1:
        totals = [gap * (extent - 1) for gap, extent in zip(gaps, kernel, strict=True)]
        if all(total % 2 == 0 for total in totals):
            sides = _three([total // 2 for total in totals])
    if sides is None or min(sides) < 0 or min(input.shape) < 1:
        return None
    fits = all(
        size + 2 * side > gap * (extent - 1)
        for size, side, gap, extent in zip(input.shape[2:], sides, gaps, kernel, strict=True)
    )
    k, c = weight.shape[0], weight.shape[1] * groups
    right = fits and k % groups == 0 and c == input.shape[1] and input.dtype is weight.dtype
    if bias is not None:
        right = right and bias.shape == (k,) and bias.dtype is input.dtype
    return (steps, sides, gaps) if right else None


def _is_last(tensor: Tensor) -> bool:
    """Whether it is dense in channels_last_3d alone; ``is_contiguous`` cannot say in ``vmap``."""
    if tensor.is_contiguous():
        return False
    expected = 1
    for dimension in (1, 4, 3, 2, 0):
        size = tensor.shape[dimension]
        if size != 1 and tensor.stride(dimension) != expected:
            return False
        expected *= size
    return True


def _has_slices(volumes: Tensor) -> bool:
    """Whether the slices of a batch are one batch."""
    return _is_last(volumes) or 1 in volumes.shape[1:3]


def _dense(volumes: Tensor) -> Tensor:
    """The same in one of both memory formats, which most are in already."""
    if volumes.stride(1) == 1 and not _is_last(volumes) and not volumes.is_contiguous():
        return volumes.movedim(1, 4).contiguous().movedim(4, 1)
    return volumes if _is_last(volumes) else volumes.contiguous()


def _over_depth(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Three,
    padding: Three,
    dilation: Three,
    groups: int,
) -> As2d:
    # Views with channels in the place where they are in memory: others may have a stride of a batch
    # of one that tells another memory format.
    last, (d, h, w) = _is_last(input), input.shape[2:]
    row = _row_length(input, weight, stride, groups)
    parts = h * w // row  # of a slice
    if last:
        images = input.movedim(1, 4).flatten(1, 3).unflatten(1, (d * parts, row)).movedim(3, 1)
    else:
        images = input.flatten(2).unflatten(2, (d * parts, row))
    along = (stride[0], 1), (padding[0] * parts, 0), (dilation[0] * parts, 1)
    return As2d((images, weight.flatten(3), bias, *along, groups), _of_rows, input.shape[3:], last)


def _row_length(input: Tensor, weight: Tensor, stride: Three, groups: int) -> int:
    """Pixels in a row of the images: all of a slice, or of some rows with a dilation between them.

    Then a job of dense_channels has rows of several slices in the cache, for all of their taps.
    Layers that dense_pixels computes, which loads all rows between the taps, keep long rows, and
    where they are no longer than these also those whose weight gradient is slower with others.
    """
    (k, c, t), (h, w) = weight.shape[:3], input.shape[3:]
    if t > 1 and stride[0] == 1 and all(type(size) is int for size in (k, c, h, w)):
        channels, row = min(k // groups, c), w
        while row > LONGEST_ROW and row % 2 == 0:
            row //= 2
        training = torch.is_grad_enabled() and weight.requires_grad
        least = SLICE_IN_TRAINING if training else SLICE
        if channels >= 32 and channels * t > 64 and row <= LONGEST_ROW and h * w >= least:
            return row
    return h * w


def _of_rows(output: Tensor, size: torch.Size, is_last: bool) -> Tensor:
    if is_last:
        return output.movedim(1, 3).flatten(1, 2).unflatten(1, (-1, *size)).movedim(4, 1)
    return output.flatten(2).unflatten(2, (-1, *size))


def _over_slices(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Three,
    padding: Three,
    dilation: Three,
    groups: int,
) -> As2d:
    slices = input.transpose(1, 2)  # [n, d, c, h, w]
    along = stride[1:], padding[1:], dilation[1:]
    arguments = slices.flatten(0, 1), weight.squeeze(2), bias, *along, groups
    return As2d(arguments, _of_slices, slices.shape[:2], _is_last(input))


def _of_slices(output: Tensor, size: torch.Size, is_last: bool) -> Tensor:
    return output.unflatten(0, size).transpose(1, 2)

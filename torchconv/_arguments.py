"""Turns the arguments of a convolution into one form and refuses what makes no sense.

Exceptions have the type that ``torch.nn.functional.conv2d`` raises for the same arguments:
TypeError for a wrong type, ValueError beyond 64 bits, RuntimeError for everything else.
"""

import operator
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, cast

import torch
from torch import Tensor
from torch.compiler import is_dynamo_compiling

_INT64 = 2**63
SMALL = 2**31  # plain ints below take the short way through pair()


def integer(value: Any, name: str, function: str = "conv2d") -> int:
    """A Python or symbolic int from anything that stands for one, except bool.

    Errors name the argument and the ``function`` that was called with it.
    """
    if isinstance(value, torch.SymInt):
        return cast(int, value)  # as PyTorch annotates sizes
    try:
        if isinstance(value, bool):
            raise TypeError("bool is not accepted as an int")
        value = operator.index(value)
    except TypeError as error:
        kind = type(value).__name__
        raise TypeError(
            f"{function}(): {name} must be made of ints, but got {value!r} of type {kind}: {error}"
        ) from None
    if not -_INT64 <= value < _INT64:
        raise ValueError(f"{function}(): {name} does not fit into 64 bits, but got {value}")
    if value >= _INT64 // 2:
        raise RuntimeError(f"{function}(): {name} must be below 2**62, but got {value}")
    return value


def pair(value: Any, name: str, function: str = "conv2d") -> tuple[int, int]:
    """``value`` for both spatial dimensions."""
    if type(value) is tuple and len(value) == 2:
        first, second = value
        if type(first) is int and type(second) is int and (first | second) < SMALL:
            return value
    elif type(value) is int and value < SMALL:
        return value, value

    first, second = _expanded(value, 2, name, function)
    return first, second


def single(value: Any, name: str, function: str) -> int:
    """``value`` for the only spatial dimension."""
    if type(value) is int and value < SMALL:
        return value
    return _expanded(value, 1, name, function)[0]


def _expanded(value: Any, count: int, name: str, function: str) -> tuple[int, ...]:
    """``value`` for ``count`` spatial dimensions."""
    if not isinstance(value, (tuple, list)):
        return (integer(value, name, function),) * count
    numbers = tuple(integer(number, name, function) for number in value)
    if len(numbers) == 1:
        return numbers * count
    if len(numbers) != count:
        values = "1 value" if count == 1 else f"{count} values"
        raise RuntimeError(
            f"{function}(): expected {name} to be a single integer value or a list of {values} to "
            f"match the convolution dimensions, but got {name}={list(numbers)}"
        )
    return numbers


def sides(
    padding: Any,
    size: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    function: str = "conv2d",
) -> tuple[int, ...]:
    """The padding before and after each spatial dimension, in one row, of an input of ``size``.

    ``padding`` is one number for all sides, one for each dimension, or one for each side, from the
    last dimension to the first as those of ``torch.nn.functional.pad``; or a word.
    """
    if isinstance(padding, str):
        return named_sides(padding, size, kernel_size, stride, dilation, function)
    if lists_sides(padding, len(size)):
        return tuple(by_side([integer(number, "padding", function) for number in padding]))
    return tuple(
        side for side in _expanded(padding, len(size), "padding", function) for _ in range(2)
    )


def lists_sides(padding: Any, dimensions: int) -> bool:
    """Whether padding is given for each side, which PyTorch's convolutions do not take."""
    return isinstance(padding, (tuple, list)) and len(padding) == 2 * dimensions


def named_sides(
    padding: str,
    size: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    function: str,
) -> tuple[int, ...]:
    """The same that a word stands for.

    'same' makes the output ceil(size / stride) long, as TensorFlow's does; an odd total goes to the
    end: to the bottom and the right.
    """
    if padding == "valid":
        return (0, 0) * len(kernel_size)
    if padding != "same":
        raise RuntimeError(
            f"{function}(): Invalid padding string: {padding!r}, must be one of 'valid', 'same'"
        )
    axes = zip(size, kernel_size, stride, dilation, strict=True)
    totals = [total_of_same(*axis) for axis in axes]
    return tuple(side for total in totals for side in (total // 2, total - total // 2))


def total_of_same(size: int, kernel: int, stride: int, dilation: int) -> int:
    """Padding along one dimension with which the output is ceil(size / stride) long."""
    reach = dilation * (kernel - 1)
    if stride <= 1:  # whatever the size, which may be known at run time only
        return reach
    return cast(int, torch.sym_max((size - 1) // stride * stride + 1 + reach - size, 0))


def output_extent(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Output size along one dimension; ``padding`` is the sum of both sides. May be < 1."""
    return (size + padding - dilation * (kernel - 1) - 1) // stride + 1


def suggests_channels_last(size: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether PyTorch takes a 4-d tensor for channels last, judging from its strides.

    As ``Tensor.suggest_memory_format`` in C++: strides must grow in the order c, w, h, n, and the
    cases that could be either layout count as contiguous.
    """
    stride_n, stride_c, stride_h, stride_w = strides
    n, c, h, w = size
    return (
        stride_c != 0
        and stride_w >= stride_c * c
        and stride_h >= stride_w * w
        and stride_n >= stride_h * h
        and stride_h * h != stride_c
        and c * h * w != 0
        and not is_empty(n)
    )


def is_empty(n: int) -> bool:
    """Whether a batch has no image; one whose size is known at run time only counts as having some.

    Empty results in either memory format are alike, so that a graph need not tell them apart.
    """
    if not is_dynamo_compiling() and type(n) is int:
        return n == 0
    from torch.fx.experimental.symbolic_shapes import guard_or_false  # slow to import

    return guard_or_false(n == 0)


def refuse_tensors(function: str, **tensors: Any) -> None:
    """Raises TypeError if one of the arguments is not a tensor."""
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{function}(): {name} must be a Tensor, but got {type(value).__name__}"
            )


def refuse_rank(input: Tensor, weight: Tensor, function: str = "conv2d", rank: int = 4) -> NoReturn:
    """Raises RuntimeError for an input or a weight that has not ``rank`` dimensions."""
    if input.dim() != rank:
        raise RuntimeError(
            f"{function}(): Expected {rank - 1}D (unbatched) or {rank}D (batched) input to "
            f"{function}, but got input of size: {list(input.shape)}"
        )
    if weight.dim() < 3:
        raise RuntimeError(
            f"{function}(): weight should have at least three dimensions, but got weight of size "
            f"{list(weight.shape)}"
        )
    raise RuntimeError(
        f"{function}(): Expected {weight.dim()}-dimensional input for {weight.dim()}-dimensional "
        f"weight {list(weight.shape)}, but got input of size {list(input.shape)}; "
        f"{function} needs a {rank}-dimensional weight"
    )


def refuse(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    function: str = "conv2d",
) -> NoReturn:
    """Raises RuntimeError saying what is wrong, in the words of F.conv2d, with the values.

    ``padding`` is that before and after each spatial dimension; there may be one or two of these.
    """
    n, c, *extents = input.shape
    k, group_channels, *kernel = weight.shape
    input_size, weight_size = list(input.shape), list(weight.shape)
    if min(stride) < 1:
        problem = f"non-positive stride is not supported, but got stride={list(stride)}"
    elif min(padding) < 0:
        alike = padding[::2] == padding[1::2]
        given = list(padding[::2]) if alike else by_side(padding)
        problem = f"negative padding is not supported, but got padding={given}"
    elif min(dilation) < 1:
        problem = f"dilation should be greater than zero, but got dilation={list(dilation)}"
    elif groups < 1:
        problem = f"non-positive groups is not supported, but got {groups=}"
    elif input.dtype != weight.dtype:
        problem = f"Input type ({input.dtype}) and weight type ({weight.dtype}) should be the same"
    elif bias is not None and bias.dtype != input.dtype:
        problem = f"Input type ({input.dtype}) and bias type ({bias.dtype}) should be the same"
    elif bias is not None and list(bias.shape) != [k]:
        problem = (
            f"Given weight of size {weight_size}, expected bias to be 1-dimensional with {k} "
            f"elements, but got bias of size {list(bias.shape)} instead"
        )
    elif k < groups:
        problem = (
            f"Given {groups=}, expected weight to be at least {groups} at dimension 0, "
            f"but got weight of size {weight_size} instead"
        )
    elif k % groups:
        problem = (
            f"Given {groups=}, expected weight to be divisible by {groups} at dimension 0, "
            f"but got weight of size {weight_size} instead"
        )
    elif c != group_channels * groups:
        problem = (
            f"Given {groups=}, weight of size {weight_size}, expected input{input_size} to have "
            f"{group_channels * groups} channels, but got {c} channels instead"
        )
    elif min(kernel) < 1:
        least = by(1 for _ in kernel)
        problem = f"expected a kernel of at least {least}, but got weight of size {weight_size}"
    elif min(extents) < 1 and n > 0:
        problem = (
            "Only zero batch or zero channel inputs are supported, but got input shape: "
            f"{input_size}"
        )
    else:
        sides = zip(extents, padding[::2], padding[1::2], strict=True)
        padded = by(map(sum, sides))
        reach = by(gap * (size - 1) + 1 for gap, size in zip(dilation, kernel, strict=True))
        problem = (
            f"Calculated padded input size per channel: ({padded}). Kernel size: "
            f"({reach}). Kernel size can't be greater than actual input size; "
            f"got input of size {input_size} and weight of size {weight_size}"
        )
    raise RuntimeError(f"{function}(): {problem}")


def by_side(sides: Sequence[int]) -> list[int]:
    """Padding before and after each dimension in the order of ``F.pad``, and from that back."""
    pairs = [*zip(sides[::2], sides[1::2], strict=True)]
    return [side for both in reversed(pairs) for side in both]


def by(sizes: Iterable[int]) -> str:
    """Sizes as in "6 x 6"."""
    return " x ".join(map(str, sizes))

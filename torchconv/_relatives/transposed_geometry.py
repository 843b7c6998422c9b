"""The arguments of a transposed convolution, checked, as those of conv2d_grad_input."""

from typing import NamedTuple, NoReturn

from torch import Tensor

from torchconv import _winograd
from torchconv._arguments import by, is_empty, suggests_channels_last

Pair = tuple[int, int]


class Options(NamedTuple):
    """The arguments beside the tensors; pairs are (height, width), in 1-d of images of one row."""

    function: str
    stride: Pair
    padding: Pair
    output_padding: Pair
    dilation: Pair
    groups: int

    def beyond_a_step(self) -> bool:
        """Whether ``output_padding`` is as large as a step of the kernel, or larger."""
        return any(
            more >= step for more, step in zip(self.output_padding, self.stride, strict=True)
        )


def resolve(
    input: Tensor, weight: Tensor, bias: Tensor | None, options: Options
) -> tuple[tuple[int, int, int, int], tuple[int, ...]]:
    """The size of the output, and the geometry of the convolution that is transposed."""
    _, stride, padding, output_padding, dilation, groups = options
    n, c, h, w = input.shape
    c_of_weight, group_channels, r, s = weight.shape
    k = group_channels * groups
    p = (h - 1) * stride[0] - 2 * padding[0] + dilation[0] * (r - 1) + output_padding[0] + 1
    q = (w - 1) * stride[1] - 2 * padding[1] + dilation[1] * (s - 1) + output_padding[1] + 1
    dtype = input.dtype
    if (
        min(stride) < 1
        or min(padding) < 0
        or min(output_padding) < 0
        or min(dilation) < 1
        or groups < 1
        or c != c_of_weight
        or c % groups != 0
        or any(
            more >= step and more >= gap
            for more, step, gap in zip(output_padding, stride, dilation, strict=True)
        )
        or ((h < 1 or w < 1) and n > 0)
        or p < 1
        or q < 1
        or weight.dtype is not dtype
        or (bias is not None and (bias.dtype is not dtype or bias.shape != (k,)))
    ):
        _refuse(input, weight, bias, options, (p, q))
    channels_last = suggests_channels_last(input.shape, input.stride()) or (
        not is_empty(n) and suggests_channels_last(weight.shape, weight.stride())
    )
    flags = _winograd.CHOSEN.get() + (1 if channels_last else 0)
    top, left = padding
    return (n, k, p, q), (*stride, top, top, left, left, *dilation, groups, flags)


def _refuse(
    input: Tensor, weight: Tensor, bias: Tensor | None, options: Options, output: Pair
) -> NoReturn:
    """Raises RuntimeError saying what is wrong, with the values."""
    function, stride, padding, output_padding, dilation, groups = options
    dimensions = 1 if function == "conv_transpose1d" else 2

    def size_of(tensor: Tensor) -> list[int]:
        return [*tensor.shape[:2], *tensor.shape[-dimensions:]]

    def values(pair: Pair) -> list[int]:
        return list(pair[-dimensions:])

    n, c, h, w = input.shape
    rows, group_channels = weight.shape[:2]
    k = group_channels * groups
    input_size, weight_size = size_of(input), size_of(weight)
    if min(stride) < 1:
        problem = f"non-positive stride is not supported, but got stride={values(stride)}"
    elif min(padding) < 0:
        problem = f"negative padding is not supported, but got padding={values(padding)}"
    elif min(output_padding) < 0:
        problem = (
            "negative output_padding is not supported, but got output_padding="
            f"{values(output_padding)}"
        )
    elif min(dilation) < 1:
        problem = f"dilation should be greater than zero, but got dilation={values(dilation)}"
    elif groups < 1:
        problem = f"non-positive groups is not supported, but got {groups=}"
    elif input.dtype != weight.dtype:
        problem = f"Input type ({input.dtype}) and weight type ({weight.dtype}) should be the same"
    elif bias is not None and bias.dtype != input.dtype:
        problem = f"Input type ({input.dtype}) and bias type ({bias.dtype}) should be the same"
    elif rows % groups:
        problem = (
            f"Given {groups=}, expected weight to be divisible by {groups} at dimension 0, "
            f"but got weight of size {weight_size} instead"
        )
    elif c != rows:
        problem = (
            f"Given transposed=1, weight of size {weight_size}, expected input{input_size} to have "
            f"{rows} channels, but got {c} channels instead"
        )
    elif bias is not None and list(bias.shape) != [k]:
        problem = (
            f"Given transposed=1, weight of size {weight_size}, expected bias to be 1-dimensional "
            f"with {k} elements, but got bias of size {list(bias.shape)} instead"
        )
    elif min(h, w) < 1 and n > 0:
        problem = (
            "Only zero batch or zero channel inputs are supported, but got input shape: "
            f"{input_size}"
        )
    elif min(output) < 1:
        problem = (
            f"Given input size per channel: ({by(values((h, w)))}). Calculated output size per "
            f"channel: ({by(values(output))}). Output size is too small"
        )
    else:
        problem = (
            "output padding must be smaller than either stride or dilation, but got "
            f"output_padding={values(output_padding)}, stride={values(stride)}, "
            f"dilation={values(dilation)}"
        )
    raise RuntimeError(f"{function}(): {problem}")

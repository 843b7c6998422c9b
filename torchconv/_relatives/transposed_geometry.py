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
        (height, width), (stride_h, stride_w) = self.output_padding, self.stride
        return height >= stride_h or width >= stride_w


def resolve(
    input: Tensor, weight: Tensor, bias: Tensor | None, options: Options
) -> tuple[tuple[int, int, int, int], tuple[int, ...]]:
    """The size of the output, and the geometry of the convolution that is transposed."""
    _, stride, padding, output_padding, dilation, groups = options
    (stride_h, stride_w), (dilation_h, dilation_w) = stride, dilation
    (top, left), (more_h, more_w) = padding, output_padding
    n, c, h, w = input.shape
    c_of_weight, group_channels, r, s = weight.shape
    k = group_channels * groups
    p = (h - 1) * stride_h - 2 * top + dilation_h * (r - 1) + more_h + 1
    q = (w - 1) * stride_w - 2 * left + dilation_w * (s - 1) + more_w + 1
    dtype = input.dtype
    if (
        stride_h < 1
        or stride_w < 1
        or top < 0
        or left < 0
        or more_h < 0
        or more_w < 0
        or dilation_h < 1
        or dilation_w < 1
        or groups < 1
        or c != c_of_weight
        or c % groups != 0
        or (more_h >= stride_h and more_h >= dilation_h)
        or (more_w >= stride_w and more_w >= dilation_w)
        or ((h < 1 or w < 1) and n > 0)
        or p < 1
        or q < 1
        or weight.dtype is not dtype
        or (bias is not None and (bias.dtype is not dtype or bias.shape != (k,)))
    ):
        _refuse(input, weight, bias, options, (p, q))
    # A tensor that is plainly contiguous, as almost all are, is told by its first comparison.
    strides, weight_strides = input.stride(), weight.stride()
    channels_last = (
        strides[3] >= strides[1] * c and suggests_channels_last(input.shape, strides)
    ) or (
        weight_strides[3] >= weight_strides[1] * group_channels
        and suggests_channels_last(weight.shape, weight_strides)
        and not is_empty(n)
    )
    flags = _winograd.CHOSEN.get() + (1 if channels_last else 0)
    return (n, k, p, q), (
        stride_h, stride_w, top, top, left, left, dilation_h, dilation_w, groups, flags,
    )  # fmt: skip


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

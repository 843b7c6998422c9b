"""The arithmetic behind an animation: what the window slides over, and what each step gives.

A transposed convolution is shown as the convolution that it equals (Dumoulin and Visin, 2016, "A
guide to convolution arithmetic for deep learning", section 4): the input with zeros between its
values and around it, and the flipped kernel with a stride of 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torchconv import _arguments
from torchconv.functional import conv2d

MODES = ("zeros", "reflect", "replicate", "circular")
Pair = tuple[int, int]


@dataclass(frozen=True)
class Step:
    """One position of the window: output ``[filter, row, column]`` is the sum of the products."""

    filter: int
    row: int
    column: int
    rows: list[int]  # of the source, that the window touches
    columns: list[int]
    values: Tensor  # [c, r, s]
    weights: Tensor  # [c, r, s]
    products: Tensor  # [c, r, s]
    total: float


@dataclass(frozen=True)
class Sliding:
    """Everything that an animation shows, in float64."""

    source: Tensor  # [c, h, w]: the input and what is around and between its values
    is_input: Tensor  # [h, w], bool: false for padding and for zeros between
    kernel: Tensor  # [k, c, r, s], as it multiplies
    output: Tensor  # [k, p, q]
    stride: Pair
    dilation: Pair
    dims: int  # 1 or 2
    transposed: bool
    caption: str

    def __len__(self) -> int:
        return self.output.numel()

    def label(self, block: str, channel: int, filter: int) -> str:
        """The name of a panel: with channel, and filter, where there are several."""
        k, c = self.kernel.shape[:2]
        if block == "kernel" and k > 1:
            indices = [channel, filter] if self.transposed else [filter, channel]
        else:
            indices = [channel] if (k if block == "output" else c) > 1 else []
        index = f"[{', '.join(map(str, indices))}]" if indices else ""
        note = {"input": ", spread out", "kernel": ", flipped"}.get(block, "")
        return f"{block}{index}{note if self.transposed else ''}"

    def steps(self) -> Iterator[Step]:
        """Every position of the window, row by row, filter after filter."""
        _, c, r, s = self.kernel.shape
        for k, p, q in torch.cartesian_prod(*map(torch.arange, self.output.shape)).tolist():
            rows = [p * self.stride[0] + i * self.dilation[0] for i in range(r)]
            columns = [q * self.stride[1] + j * self.dilation[1] for j in range(s)]
            values = self.source[:, rows][:, :, columns]
            weights = self.kernel[k]
            total = self.output[k, p, q].item()
            yield Step(k, p, q, rows, columns, values, weights, values * weights, total)


def slide(
    input: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    padding_mode: str,
    transposed: bool,
) -> Sliding:
    """Checks the arguments of ``animate`` and computes the convolution with torchconv."""
    image, weight = _numeric(input, "input"), _numeric(kernel, "kernel")
    if padding_mode not in MODES:
        raise ValueError(
            f"animate(): padding_mode must be one of {', '.join(map(repr, MODES))}, "
            f"but got {padding_mode!r}"
        )
    if not (
        (image.dim() == weight.dim() == 1) or (image.dim() in (2, 3) and weight.dim() in (2, 3, 4))
    ):
        raise RuntimeError(
            "animate(): expected an input (w,) with a kernel (s,), or an input (h, w) or (c, h, w) "
            "with a kernel (r, s), (c, r, s) or (k, c, r, s), but got an input of size "
            f"{list(image.shape)} and a kernel of size {list(weight.shape)}"
        )
    dims = min(image.dim(), 2)
    caption_sizes = [_size(image.shape), _size(weight.shape)]
    if dims == 1:
        image, weight = image[None], weight[None]
    image = image.reshape(-1, *image.shape[-2:])
    weight = weight.reshape(-1, *weight.shape[-3:]) if weight.dim() > 2 else weight[None, None]
    steps = _pair(stride, "stride", dims, 1)
    gaps = _pair(dilation, "dilation", dims, 1)
    extra = padding if isinstance(padding, str) else _pair(padding, "padding", dims, 0)
    if image.numel() == 0 or weight.numel() == 0:
        raise RuntimeError(
            "animate(): expected an input and a kernel with elements, but got sizes "
            f"{list(image.shape)} and {list(weight.shape)}"
        )
    check_steps(steps, gaps, extra)
    around = _transposed if transposed else _padded
    r, s = weight.shape[-2:]
    source, is_input = around(image, (r, s), steps, extra, gaps, padding_mode)
    if transposed:
        weight, moves = weight.flip(-1, -2).transpose(0, 1), (1, 1)
    else:
        moves = steps
    output = conv2d(source, weight, stride=moves, dilation=gaps)
    caption = _caption(caption_sizes, steps, padding, gaps, padding_mode, transposed, output, dims)
    return Sliding(source, is_input, weight, output, moves, gaps, dims, transposed, caption)


def check_steps(stride: Pair, dilation: Pair, padding: Pair | str) -> None:
    """Raises RuntimeError for values that no convolution has."""
    for name, values in (("stride", stride), ("dilation", dilation)):
        if min(values) < 1:
            raise RuntimeError(f"animate(): {name} must be positive, but got {values}")
    if not isinstance(padding, str) and min(padding) < 0:
        raise RuntimeError(f"animate(): padding must not be negative, but got {padding}")


def _padded(
    image: Tensor, kernel_size: Pair, stride: Pair, padding: Any, dilation: Pair, mode: str
) -> tuple[Tensor, Tensor]:
    top, bottom, left, right = _arguments.sides(
        padding, image.shape[1:], kernel_size, stride, dilation, "animate"
    )
    sides = (left, right, top, bottom)
    filled = "constant" if mode == "zeros" else mode
    inside = F.pad(torch.ones(image.shape[1:], dtype=torch.bool), sides)
    return F.pad(image[None], sides, mode=filled)[0], inside


def _transposed(
    image: Tensor, kernel_size: Pair, stride: Pair, padding: Any, dilation: Pair, mode: str
) -> tuple[Tensor, Tensor]:
    if mode != "zeros":
        raise ValueError(
            f"animate(): only padding_mode='zeros' is supported with transposed=True, got {mode!r}"
        )
    if isinstance(padding, str):
        raise TypeError(
            f"animate(): padding must be an int or a pair with transposed=True, but got {padding!r}"
        )
    c, h, w = image.shape
    spread = image.new_zeros(c, (h - 1) * stride[0] + 1, (w - 1) * stride[1] + 1)
    spread[:, :: stride[0], :: stride[1]] = image
    inside = torch.zeros(spread.shape[1:], dtype=torch.bool)
    inside[:: stride[0], :: stride[1]] = True
    vertical, horizontal = (
        gap * (size - 1) - cut
        for gap, size, cut in zip(dilation, kernel_size, padding, strict=True)
    )
    sides = (horizontal, horizontal, vertical, vertical)  # negative ones cut something off
    return F.pad(spread, sides), F.pad(inside, sides)


def _numeric(values: Any, name: str) -> Tensor:
    tensor = torch.as_tensor(values).detach().cpu()
    if tensor.is_complex():
        raise TypeError(f"animate(): {name} must be real, but got dtype {tensor.dtype}")
    return tensor.to(torch.float64)


def _pair(value: Any, name: str, dims: int, neutral: int) -> Pair:
    """``value`` for height and width; in one dimension, the height is 1 and stays as it is."""
    if dims == 2:
        return _arguments.pair(value, name, "animate")
    if isinstance(value, (tuple, list)) and len(value) == 1:
        value = value[0]
    return neutral, _arguments.integer(value, name, "animate")


def _size(shape: Any) -> str:
    return " × ".join(map(str, shape))


def _caption(
    sizes: list[str],
    stride: Pair,
    padding: Any,
    dilation: Pair,
    mode: str,
    transposed: bool,
    output: Tensor,
    dims: int,
) -> str:
    """One line: the sizes, and what differs from the default."""

    def value(number: Any) -> str:
        if isinstance(number, str):
            return number
        if not isinstance(number, (tuple, list)):
            return str(number)
        used = list(number)[-dims:]
        return str(used[0]) if len(set(used)) == 1 else _size(used)

    parts = [f"input {sizes[0]}", f"kernel {sizes[1]}"]
    if set(stride[-dims:]) != {1}:
        parts.append(f"stride {value(stride)}")
    if value(padding) != "0":
        kind = "" if mode == "zeros" else f" ({mode})"
        parts.append(f"padding {value(padding)}{kind}")
    if set(dilation[-dims:]) != {1}:
        parts.append(f"dilation {value(dilation)}")
    shape = output.shape[-dims:] if output.shape[0] == 1 else output.shape
    parts.append(f"output {_size(shape)}")
    return ("transposed:  " if transposed else "") + ",  ".join(parts)

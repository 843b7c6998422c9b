"""The public functions: argument handling once, here; everything below may rely on it.

Each call is resolved to a batch, pairs of ints and four-sided padding, and checked with plain
integers: no tensor operation runs before the convolution itself. Whatever torchconv does not
compute (integers, complex numbers, other devices and layouts, tensor subclasses with a dispatcher
of their own) goes to ``torch.nn.functional.conv2d`` unchanged.
"""

import functools
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch._C import _is_any_autocast_enabled
from torch.compiler import is_dynamo_compiling
from torch.overrides import has_torch_function_variadic

from torchconv import _arguments, _integers, _padding, _winograd
from torchconv._arguments import output_extent, pair
from torchconv._autocast import autocast
from torchconv._config import ON_CUDA, get_backend, reason_for_aten
from torchconv._geometry import resolve as resolve
from torchconv._geometry import resolved as resolved
from torchconv._gpu import dispatch
from torchconv._integrations.overrides import overridden
from torchconv._operators import autograd
from torchconv._relatives.conv1d import conv1d as conv1d
from torchconv._relatives.conv3d import conv3d as conv3d
from torchconv._relatives.transposed import conv_transpose1d as conv_transpose1d
from torchconv._relatives.transposed import conv_transpose2d as conv_transpose2d
from torchconv._winograd import Winograd

Ints = int | Sequence[int]
PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    padding_mode: PaddingMode = "zeros",
    winograd: Winograd | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    r"""Applies a 2-d convolution (a cross-correlation) over an image of several channels.

    Equivalent to :func:`torch.nn.functional.conv2d`, including errors, memory format, autocast
    and derivatives of every order.

    Args:
        input: ``(n, c, h, w)``, or one image ``(c, h, w)``; float32, float64, bfloat16 or float16
            on the CPU, or on a GPU where torchconv has CUDA kernels and the backend (see
            :func:`torchconv.set_backend`) lets them run. Other tensors are passed to
            :func:`torch.nn.functional.conv2d`.
        weight: ``(k, c / groups, r, s)``, same dtype and device.
        bias: ``(k,)`` or None.
        stride: step of the kernel, an int or a pair ``(height, width)``.
        padding: zeros on each side, an int, a pair or ``(left, right, top, bottom)``; or
            ``'valid'`` (none) or ``'same'`` (output of ``ceil(size / stride)``, as TensorFlow and
            Keras pad; an odd total goes to the bottom and the right).
        dilation: distance between kernel elements, an int or a pair.
        groups: channels are split into this many groups that do not mix.
        padding_mode: what the padding holds: ``'zeros'``, or elements of the input as of
            :func:`torch.nn.functional.pad`: ``'reflect'``, ``'replicate'`` or ``'circular'``.
        winograd: for this call, what :func:`torchconv.set_winograd` chooses for all.
        out_dtype: ``torch.int32`` for exact sums of integers, of a uint8 or int8 input, an int8
            weight and an int32 bias or None, where PyTorch's would overflow; no derivatives. A
            layer is refused if some values of these types could leave int32: at most 65793 products
            per sum (c / groups * r * s) for uint8, 131071 for int8, less what the bias takes.

    Returns:
        ``(n, k, p, q)`` or ``(k, p, q)``, with ``(p, q)`` as given by :func:`conv2d_output_size`.
        Channels last if input or weight is.

    Raises:
        RuntimeError: shapes, dtypes or values do not fit together.
        TypeError: an argument has a wrong type, or ``out_dtype`` meets a subclass of Tensor.
        ValueError: there is no such mode of padding or of Winograd's.

    Example:
        >>> import torch
        >>> image = torch.arange(36.0).reshape(1, 1, 6, 6)
        >>> mean = torch.full((1, 1, 3, 3), 1 / 9)
        >>> conv2d(image, mean).shape
        torch.Size([1, 1, 4, 4])
        >>> conv2d(image, mean)[0, 0, 0, 0].round().item()
        7.0
        >>> conv2d(image, mean, padding="same").shape
        torch.Size([1, 1, 6, 6])
        >>> conv2d(image, mean, stride=2, padding=(1, 0, 1, 0), padding_mode="replicate").shape
        torch.Size([1, 1, 3, 3])
        >>> ones, hundreds = torch.ones(1, 8, 3, 3).byte(), torch.full((1, 8, 3, 3), 100).char()
        >>> conv2d(ones, hundreds, out_dtype=torch.int32).item()
        7200
    """
    if out_dtype is not None:
        options = stride, padding, dilation, groups
        if padding_mode != "zeros":
            _padding.flags(padding_mode)  # which raises if there is no such mode
            raise RuntimeError(
                f"conv2d(): out_dtype takes padding_mode='zeros', but got {padding_mode!r}"
            )
        return _conv2d_of_integers(input, weight, bias, out_dtype, *options)
    if has_torch_function_variadic(input, weight, bias):
        return _overridden(
            input, weight, bias, stride, padding, dilation, groups, padding_mode, winograd
        )
    mode = 0 if padding_mode == "zeros" else _padding.flags(padding_mode)
    reason = reason_for_aten(input, weight, bias)
    if reason is not None:
        if reason == ON_CUDA:
            if mode:
                input = _padding.padded(input, weight, stride, padding, dilation, padding_mode)
                padding = 0
            return _on_cuda(input, weight, bias, stride, padding, dilation, groups)
        return _padding.conv2d(
            input, weight, bias, stride, padding, dilation, groups, padding_mode=padding_mode
        )
    if type(padding) is str and _padding.depends_on_unknown_size(input, padding, stride):
        input, padding = _padding.padded(input, weight, stride, padding, dilation, padding_mode), 0
        mode = 0
    if _is_any_autocast_enabled() and torch.is_autocast_enabled("cpu"):
        input, weight, bias = autocast(input, weight, bias, "cpu")
    if input.dim() == 3:
        input = input.unsqueeze(0)
        batch = conv2d(
            input, weight, bias, stride, padding, dilation, groups,
            padding_mode=_padding.MODES[mode // _padding.FLAG],
            winograd=winograd,
        )  # fmt: skip
        return batch.squeeze(0)
    if is_dynamo_compiling():
        from torchconv._integrations import dynamo  # noqa: F401  (tells Dynamo about autograd)
    flags = _winograd.CHOSEN.get() if winograd is None else _winograd.flags(winograd)
    geometry = resolve(input, weight, bias, stride, padding, dilation, groups, flags + mode)
    return autograd.conv2d(input, weight, bias, geometry)


def conv2d_output_size(
    input_size: Ints,
    kernel_size: Ints,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
) -> tuple[int, int]:
    r"""Returns height and width of the output of a convolution.

    .. math::
        H_{out} = \left\lfloor \frac{H_{in} + 2\,\text{padding} - \text{dilation}\,
        (\text{kernel\_size} - 1) - 1}{\text{stride}} \right\rfloor + 1

    and the same for the width. Pixels at the bottom and the right that the last step of the kernel
    does not reach are dropped: that is the floor.

    Args:
        input_size: int, or pair ``(height, width)``, as are all arguments.
        kernel_size: extent of the kernel.
        stride: step of the kernel.
        padding: zeros on each side, or ``(left, right, top, bottom)``, ``'valid'`` or ``'same'``.
        dilation: distance between kernel elements.

    Raises:
        ValueError: the output would have no pixel, or an argument is out of its range.
        TypeError: an argument is not an int.

    Example:
        >>> conv2d_output_size(32, kernel_size=5)
        (28, 28)
        >>> conv2d_output_size((224, 200), kernel_size=7, stride=2, padding=3)
        (112, 100)
    """
    function = "conv2d_output_size"
    try:
        size = pair(input_size, "input_size", function)
        kernel = pair(kernel_size, "kernel_size", function)
        steps = pair(stride, "stride", function)
        gaps = pair(dilation, "dilation", function)
        for name, values in (("kernel_size", kernel), ("stride", steps), ("dilation", gaps)):
            if min(values) < 1:
                raise ValueError(f"conv2d_output_size(): {name} must be positive, got {values}")
        sides = _arguments.sides(padding, size, kernel, steps, gaps, function)
    except RuntimeError as error:  # what conv2d raises for such arguments
        raise ValueError(str(error)) from None
    top, bottom, left, right = sides
    if min(size) < 0 or min(sides) < 0:
        raise ValueError(
            "conv2d_output_size(): input_size and padding must not be negative, "
            f"got {input_size=}, {padding=}"
        )
    p = output_extent(size[0], kernel[0], steps[0], top + bottom, gaps[0])
    q = output_extent(size[1], kernel[1], steps[1], left + right, gaps[1])
    if p < 1 or q < 1:
        raise ValueError(
            f"conv2d_output_size(): the output would have size {(p, q)}, got {input_size=}, "
            f"{kernel_size=}, {stride=}, {padding=}, {dilation=}"
        )
    return p, q


def _overridden(input: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
    """A call on tensors that take functions in their own hands: the rest of conv2d."""
    *rest, padding_mode, winograd = options
    modes = {} if winograd is None else {"winograd": winograd}
    namesake = _padding.conv2d
    if padding_mode != "zeros":
        modes["padding_mode"] = padding_mode
        namesake = functools.partial(namesake, padding_mode=padding_mode)
    return overridden(conv2d, namesake, (input, weight, bias), *rest, **modes)


def _conv2d_of_integers(
    input: Tensor, weight: Tensor, bias: Tensor | None, out_dtype: torch.dtype, *options: Any
) -> Tensor:
    """A call with out_dtype, which says that the sums are exact."""
    if has_torch_function_variadic(input, weight, bias):
        tensors = input, weight, bias
        return overridden(conv2d, _integers.refuse_class, tensors, *options, out_dtype=out_dtype)
    _integers.check(input, weight, bias, out_dtype)
    if input.dim() == 3:
        return _conv2d_of_integers(input.unsqueeze(0), weight, bias, out_dtype, *options).squeeze(0)
    geometry = resolve(input, weight, None, *options, one_dtype=False)
    _integers.check_sums(input, weight)
    if reason_for_aten(input, weight, bias, dtypes=_integers.IMAGES) is not None:
        return _integers.computed_by_aten(input, weight, bias, geometry)
    return torch.ops.torchconv.conv2d_int32.default(input, weight, bias, geometry)


def _on_cuda(input: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
    """A call on a GPU, of which ATen may compute all or some: the rest of conv2d."""
    if input.dim() == 3:
        return _on_cuda(input.unsqueeze(0), weight, bias, *options).squeeze(0)
    as_given = input, weight, bias  # ATen casts them itself, a weight once in an autocast region
    if is_dynamo_compiling():
        from torchconv._integrations import dynamo  # noqa: F401
    backend = get_backend()
    input, weight, bias, geometry = resolved(input, weight, bias, *options)
    geometry, _ = dispatch.choice(input, weight, geometry, backend)
    if backend != "native" and dispatch.all_left_to_aten(input, weight, geometry):
        return _padding.conv2d(*as_given, *options)
    return autograd.conv2d(input, weight, bias, geometry)

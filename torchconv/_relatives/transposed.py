"""``conv_transpose2d`` and ``conv_transpose1d``: gradients of the input of a convolution.

What a transposed convolution takes for input is the gradient [n, k, p, q] of the output of that
convolution, and its weight is the same [k, c / groups, r, s]. The public functions count channels
from the other side: their input has c and their output k channels. ``output_padding`` is rows and
columns that the convolution's last step does not reach.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.compiler import is_dynamo_compiling
from torch.overrides import has_torch_function_variadic

from torchconv import _arguments
from torchconv._arguments import pair, single
from torchconv._integrations.overrides import overridden
from torchconv._operators import autograd
from torchconv._relatives.asked import cast, left_to_torch
from torchconv._relatives.transposed_geometry import Options, resolve

Ints = int | Sequence[int]


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    r"""Applies a transposed 2-d convolution over an image of several channels.

    Equivalent to :func:`torch.nn.functional.conv_transpose2d`, including errors, memory format,
    autocast and derivatives of every order. Each pixel of the input adds the kernel, times its
    value, to the output, ``stride`` apart. In half types the bias is added to rounded sums.

    Args:
        input: ``(n, c, h, w)``, or one image ``(c, h, w)``; float32, float64, bfloat16 or float16
            on the CPU. Other tensors are passed to :func:`torch.nn.functional.conv_transpose2d`.
        weight: ``(c, k / groups, r, s)``, same dtype and device.
        bias: ``(k,)`` or None.
        stride: distance between the kernels in the output, an int or a pair ``(height, width)``.
        padding: rows and columns that are cut off on each side, an int or a pair.
        output_padding: rows at the bottom and columns at the right beside those, an int or a pair;
            smaller than stride or dilation.
        groups: channels are split into this many groups that do not mix.
        dilation: distance between kernel elements, an int or a pair.

    Returns:
        ``(n, k, p, q)`` or ``(k, p, q)``, with ``p = (h - 1) * stride - 2 * padding + dilation *
        (r - 1) + output_padding + 1`` and ``q`` likewise. Channels last if input or weight is.

    Raises:
        RuntimeError: shapes, dtypes or values do not fit together.
        TypeError: an argument has a wrong type.

    Example:
        >>> import torch
        >>> image = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
        >>> conv_transpose2d(image, torch.ones(1, 1, 2, 2), stride=2)[0]
        tensor([[1., 1., 2., 2.],
                [1., 1., 2., 2.],
                [3., 3., 4., 4.],
                [3., 3., 4., 4.]])
    """
    name = "conv_transpose2d"
    if has_torch_function_variadic(input, weight, bias):
        tensors = input, weight, bias
        options = stride, padding, output_padding, groups, dilation
        return overridden(conv_transpose2d, F.conv_transpose2d, tensors, *options)
    if left_to_torch(input, weight, bias, name):
        return F.conv_transpose2d(
            input, weight, bias, stride, padding, output_padding, groups, dilation
        )  # type: ignore
    input, weight, bias = cast(input, weight, bias)
    options = Options(
        name,
        pair(stride, "stride", name),
        pair(padding, "padding", name),
        pair(output_padding, "output_padding", name),
        pair(dilation, "dilation", name),
        groups if type(groups) is int else _arguments.integer(groups, "groups", name),
    )
    if input.dim() == 3:
        return _transposed(input.unsqueeze(0), weight, bias, options).squeeze(0)
    if input.dim() != 4 or weight.dim() != 4:
        _arguments.refuse_rank(input, weight, name)
    return _transposed(input, weight, bias, options)


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    r"""Applies a transposed 1-d convolution over a sequence of several channels.

    Equivalent to :func:`torch.nn.functional.conv_transpose1d`, including errors, autocast and
    derivatives of every order.

    Args:
        input: ``(n, c, w)``, or one sequence ``(c, w)``; float32, float64, bfloat16 or float16 on
            the CPU. Other tensors are passed to :func:`torch.nn.functional.conv_transpose1d`.
        weight: ``(c, k / groups, s)``, same dtype and device.
        bias: ``(k,)`` or None.
        stride: distance between the kernels in the output, an int or a list of one.
        padding: elements that are cut off on each side.
        output_padding: elements at the end beside those; smaller than stride or dilation.
        groups: channels are split into this many groups that do not mix.
        dilation: distance between kernel elements.

    Returns:
        ``(n, k, q)`` or ``(k, q)``, with ``q = (w - 1) * stride - 2 * padding + dilation *
        (s - 1) + output_padding + 1``.

    Raises:
        RuntimeError: shapes, dtypes or values do not fit together.
        TypeError: an argument has a wrong type.

    Example:
        >>> import torch
        >>> conv_transpose1d(torch.tensor([[1.0, 5.0]]), torch.ones(1, 1, 2), stride=3)
        tensor([[1., 1., 0., 5., 5.]])
    """
    name = "conv_transpose1d"
    if has_torch_function_variadic(input, weight, bias):
        tensors = input, weight, bias
        options = stride, padding, output_padding, groups, dilation
        return overridden(conv_transpose1d, F.conv_transpose1d, tensors, *options)
    if left_to_torch(input, weight, bias, name):
        return F.conv_transpose1d(
            input, weight, bias, stride, padding, output_padding, groups, dilation
        )  # type: ignore
    input, weight, bias = cast(input, weight, bias)
    options = Options(
        name,
        (1, single(stride, "stride", name)),
        (0, single(padding, "padding", name)),
        (0, single(output_padding, "output_padding", name)),
        (1, single(dilation, "dilation", name)),
        groups if type(groups) is int else _arguments.integer(groups, "groups", name),
    )
    batch = input.unsqueeze(0) if input.dim() == 2 else input
    if batch.dim() != 3 or weight.dim() != 3:
        _arguments.refuse_rank(batch, weight, name, 3)
    images = batch.contiguous().unsqueeze(2)  # [n, c, 1, w]
    output = _transposed(images, weight.unsqueeze(2), bias, options).squeeze(2)
    return output.squeeze(0) if input.dim() == 2 else output


def _transposed(input: Tensor, weight: Tensor, bias: Tensor | None, options: Options) -> Tensor:
    """[n, c, h, w] -> [n, k, p, q], once the arguments are in one form."""
    size, geometry = resolve(input, weight, bias, options)
    if options.beyond_a_step():  # more than a convolution of that output would leave over
        whole = options._replace(padding=(0, 0), output_padding=(0, 0))
        output = _transposed(input, weight, None, whole)
        (top, left), (bottom, right) = options.padding, options.output_padding
        output = F.pad(output, (-left, right - left, -top, bottom - top))
    else:
        output = autograd.conv2d_grad_input(input, weight, size, geometry)
    return output if bias is None else _add(output, bias)


def _add(output: Tensor, bias: Tensor) -> Tensor:
    """Adds the bias to ``output``, which is nobody else's yet.

    That is another pass over the output, because conv2d_grad_input takes no bias. It takes a few
    per cent of the time of a dense layer, too little for an operator of its own.
    """
    if bias.requires_grad and bias.shape[0] == 1:
        image = output.shape[2:]
        addend = _in_two_parts(bias, image.numel()).view(image)
    else:
        addend = bias.view(-1, 1, 1)
    if is_dynamo_compiling() or torch._C._are_functorch_transforms_active():
        return output + addend
    return output.add_(addend)


def _in_two_parts(bias: Tensor, pixels: int) -> Tensor:
    """[1] -> [pixels], so that the gradient has the same bits on any number of threads.

    ATen splits a long sum to one number by threads, but not a sum to two.
    """
    half = (pixels + 1) // 2
    return bias.expand(2)[:, None].expand(2, half).reshape(-1)[:pixels]

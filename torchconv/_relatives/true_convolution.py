"""``true_convolution``: what mathematics calls a convolution, of images with one kernel each."""

from typing import Literal

from torch import Tensor

from torchconv import functional

Mode = Literal["full", "same", "valid"]
_MODES = ("full", "same", "valid")


def true_convolution(input: Tensor, kernel: Tensor, mode: Mode = "full") -> Tensor:
    r"""Convolves images with a kernel, as mathematics defines it: the kernel is flipped.

    The layers of neural networks, :func:`torchconv.conv2d` too, do not flip it and add up
    channels. Here every channel stays by itself:

    .. math::
        y_{ij} = \sum_{a, b} x_{i - a,\, j - b} \; k_{ab}

    with zeros around the image. For two matrices ``'full'`` is commutative, up to rounding, and the
    result is that of ``scipy.signal.convolve2d`` with the same mode.

    Args:
        input: images ``(..., h, w)`` of any dtype that :func:`torchconv.conv2d` takes.
        kernel: ``(r, s)`` for all images, or ``(c, r, s)``, one for each channel of images
            ``(..., c, h, w)``; same dtype and device.
        mode: ``'full'``: every position where kernel and image overlap. ``'same'``: the middle of
            that, as large as the image. ``'valid'``: where the kernel lies within the image, which
            must not be smaller.

    Returns:
        ``(..., h + r - 1, w + s - 1)``, ``(..., h, w)`` or ``(..., h - r + 1, w - s + 1)``.

    Raises:
        ValueError: there is no such mode, or the shapes do not fit together.
        TypeError: an argument is not a tensor.
        RuntimeError: dtypes or devices differ.

    Example:
        >>> import torch
        >>> row = torch.tensor([[1.0, 2.0, 3.0]])
        >>> true_convolution(row, torch.tensor([[1.0, 10.0]]))
        tensor([[ 1., 12., 23., 30.]])
        >>> true_convolution(row, torch.tensor([[1.0, 10.0]]), mode="valid")
        tensor([[12., 23.]])
    """
    _check(input, kernel, mode)
    *outer, h, w = input.shape
    r, s = kernel.shape[-2:]
    channels = kernel.shape[0] if kernel.dim() == 3 else 1
    images = input.reshape(-1, channels, h, w)
    weight = kernel.flip(-2, -1).reshape(channels, 1, r, s)
    padding = {"full": (r - 1, s - 1), "same": (r // 2, s // 2), "valid": (0, 0)}[mode]
    output = functional.conv2d(images, weight, padding=padding, groups=channels)
    if mode == "same":  # even kernels leave one row or column over
        output = output[..., :h, :w]
    return output.reshape(*outer, *output.shape[-2:])


def _check(input: Tensor, kernel: Tensor, mode: str) -> None:
    for name, value in (("input", input), ("kernel", kernel)):
        if not isinstance(value, Tensor):
            kind = type(value).__name__
            raise TypeError(f"true_convolution(): {name} must be a Tensor, but got {kind}")
    if mode not in _MODES:
        raise ValueError(f"true_convolution(): mode must be one of {_MODES}, but got {mode!r}")
    input_size, kernel_size = list(input.shape), list(kernel.shape)
    if kernel.dim() not in (2, 3) or input.dim() < kernel.dim():
        problem = "expected a kernel (r, s) or (c, r, s) and an input of as many dimensions or more"
    elif kernel.dim() == 3 and input.shape[-3] != kernel.shape[0]:
        problem = "expected a kernel for each channel of the input"
    elif kernel.numel() == 0 or min(input.shape[-2:]) < 1:
        problem = "expected an image and a kernel of at least 1 x 1"
    elif mode == "valid" and any(kernel.shape[dim] > input.shape[dim] for dim in (-2, -1)):
        problem = "expected an image that is not smaller than the kernel in mode 'valid'"
    else:
        return
    raise ValueError(
        f"true_convolution(): {problem}, but got input of size {input_size} and kernel of size "
        f"{kernel_size}"
    )

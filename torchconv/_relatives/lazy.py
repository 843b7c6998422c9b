"""Layers that take the number of their channels from their first input.

The first call makes them layers of torchconv by class. It has looked up ``forward`` before, which
is why they inherit from those layers, too.
"""

from torch import nn

from torchconv._relatives.modules import Conv1d, Conv3d, ConvTranspose1d, ConvTranspose2d
from torchconv.modules import Conv2d


class LazyConv1d(nn.LazyConv1d, Conv1d):  # type: ignore[misc]
    """A :class:`torchconv.Conv1d` whose ``in_channels`` are those of its first input.

    Arguments, shapes and errors are those of :class:`torch.nn.LazyConv1d`.

    Example:
        >>> import torch
        >>> layer = LazyConv1d(8, kernel_size=3)
        >>> layer(torch.randn(4, 2, 33)).shape
        torch.Size([4, 8, 31])
        >>> layer
        Conv1d(2, 8, kernel_size=(3,), stride=(1,))
    """

    cls_to_become = Conv1d  # type: ignore[assignment]


class LazyConv2d(nn.LazyConv2d, Conv2d):  # type: ignore[misc]
    """A :class:`torchconv.Conv2d` whose ``in_channels`` are those of its first input.

    Arguments, shapes and errors are those of :class:`torch.nn.LazyConv2d`.

    Example:
        >>> import torch
        >>> layer = LazyConv2d(8, kernel_size=3)
        >>> layer(torch.randn(4, 2, 9, 9)).shape
        torch.Size([4, 8, 7, 7])
    """

    cls_to_become = Conv2d  # type: ignore[assignment]


class LazyConv3d(nn.LazyConv3d, Conv3d):  # type: ignore[misc]
    """A :class:`torchconv.Conv3d` whose ``in_channels`` are those of its first input.

    Arguments, shapes and errors are those of :class:`torch.nn.LazyConv3d`.

    Example:
        >>> import torch
        >>> layer = LazyConv3d(8, kernel_size=3)
        >>> layer(torch.randn(4, 2, 5, 9, 9)).shape
        torch.Size([4, 8, 3, 7, 7])
    """

    cls_to_become = Conv3d  # type: ignore[assignment]


class LazyConvTranspose1d(nn.LazyConvTranspose1d, ConvTranspose1d):  # type: ignore[misc]
    """A :class:`torchconv.ConvTranspose1d` whose ``in_channels`` are those of its first input.

    Arguments, shapes and errors are those of :class:`torch.nn.LazyConvTranspose1d`.

    Example:
        >>> import torch
        >>> layer = LazyConvTranspose1d(8, kernel_size=2, stride=2)
        >>> layer(torch.randn(4, 2, 9)).shape
        torch.Size([4, 8, 18])
    """

    cls_to_become = ConvTranspose1d  # type: ignore[assignment]


class LazyConvTranspose2d(nn.LazyConvTranspose2d, ConvTranspose2d):  # type: ignore[misc]
    """A :class:`torchconv.ConvTranspose2d` whose ``in_channels`` are those of its first input.

    Arguments, shapes and errors are those of :class:`torch.nn.LazyConvTranspose2d`.

    Example:
        >>> import torch
        >>> layer = LazyConvTranspose2d(8, kernel_size=2, stride=2)
        >>> layer(torch.randn(4, 2, 9, 9)).shape
        torch.Size([4, 8, 18, 18])
    """

    cls_to_become = ConvTranspose2d  # type: ignore[assignment]

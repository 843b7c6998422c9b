"""``Conv1d``, ``ConvTranspose1d``, ``ConvTranspose2d``: drop-ins for the layers of ``torch.nn``."""

import torch.nn.functional as F
from torch import Tensor, nn

from torchconv import functional
from torchconv._one_node import one_node


@one_node
class Conv1d(nn.Conv1d):
    r"""Applies a 1-d convolution over a sequence of several channels.

    Like :class:`torch.nn.Conv1d` in everything but the computation: it has the same arguments,
    parameters, initialisation, ``state_dict``, ``repr`` and errors.

    Shape:
        - Input: ``(n, in_channels, w)`` or ``(in_channels, w)``
        - Output: ``(n, out_channels, q)`` or ``(out_channels, q)``
        - weight: ``(out_channels, in_channels / groups, *kernel_size)``
        - bias: ``(out_channels,)``

    Raises:
        ValueError: as the constructor of :class:`torch.nn.Conv1d`.
        RuntimeError: input and parameters do not fit together.

    Example:
        >>> import torch
        >>> layer = Conv1d(2, 8, kernel_size=5, stride=2)
        >>> layer
        Conv1d(2, 8, kernel_size=(5,), stride=(2,))
        >>> layer(torch.randn(4, 2, 33)).shape
        torch.Size([4, 8, 15])
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.padding_mode != "zeros":
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            return functional.conv1d(
                input, weight, bias, self.stride, 0, self.dilation, self.groups
            )
        return functional.conv1d(
            input, weight, bias, self.stride, self.padding, self.dilation, self.groups
        )


@one_node
class ConvTranspose1d(nn.ConvTranspose1d):
    r"""Applies a transposed 1-d convolution over a sequence of several channels.

    Like :class:`torch.nn.ConvTranspose1d` in everything but the computation: it has the same
    arguments, parameters, initialisation, ``state_dict``, ``repr`` and errors, and is called with
    an ``output_size`` or without.

    Shape:
        - Input: ``(n, in_channels, w)`` or ``(in_channels, w)``
        - Output: ``(n, out_channels, q)`` or ``(out_channels, q)``
        - weight: ``(in_channels, out_channels / groups, *kernel_size)``
        - bias: ``(out_channels,)``

    Raises:
        ValueError: as :class:`torch.nn.ConvTranspose1d`.
        RuntimeError: input and parameters do not fit together.

    Example:
        >>> import torch
        >>> layer = ConvTranspose1d(8, 2, kernel_size=4, stride=2, padding=1)
        >>> layer(torch.randn(4, 8, 16)).shape
        torch.Size([4, 2, 32])
    """

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if self.padding_mode != "zeros":
            raise ValueError("Only `zeros` padding mode is supported for ConvTranspose1d")
        assert isinstance(self.padding, tuple)
        output_padding = self._output_padding(
            input,
            output_size,
            self.stride,  # type: ignore[arg-type]
            self.padding,  # type: ignore[arg-type]
            self.kernel_size,  # type: ignore[arg-type]
            1,
            self.dilation,  # type: ignore[arg-type]
        )
        return functional.conv_transpose1d(
            input, self.weight, self.bias, self.stride, self.padding, output_padding, self.groups,
            self.dilation,
        )  # fmt: skip


@one_node
class ConvTranspose2d(nn.ConvTranspose2d):
    r"""Applies a transposed 2-d convolution over an image of several channels.

    Like :class:`torch.nn.ConvTranspose2d` in everything but the computation: it has the same
    arguments, parameters, initialisation, ``state_dict``, ``repr`` and errors, and is called with
    an ``output_size`` or without.

    Shape:
        - Input: ``(n, in_channels, h, w)`` or ``(in_channels, h, w)``
        - Output: ``(n, out_channels, p, q)`` or ``(out_channels, p, q)``
        - weight: ``(in_channels, out_channels / groups, *kernel_size)``
        - bias: ``(out_channels,)``

    Raises:
        ValueError: as :class:`torch.nn.ConvTranspose2d`.
        RuntimeError: input and parameters do not fit together.

    Example:
        >>> import torch
        >>> layer = ConvTranspose2d(8, 3, kernel_size=2, stride=2)
        >>> layer
        ConvTranspose2d(8, 3, kernel_size=(2, 2), stride=(2, 2))
        >>> layer(torch.randn(4, 8, 16, 16)).shape
        torch.Size([4, 3, 32, 32])
        >>> layer(torch.randn(4, 8, 16, 16), output_size=(33, 32)).shape
        torch.Size([4, 3, 33, 32])
    """

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if self.padding_mode != "zeros":
            raise ValueError("Only `zeros` padding mode is supported for ConvTranspose2d")
        assert isinstance(self.padding, tuple)
        output_padding = self._output_padding(
            input,
            output_size,
            self.stride,  # type: ignore[arg-type]
            self.padding,  # type: ignore[arg-type]
            self.kernel_size,  # type: ignore[arg-type]
            2,
            self.dilation,  # type: ignore[arg-type]
        )
        return functional.conv_transpose2d(
            input, self.weight, self.bias, self.stride, self.padding, output_padding, self.groups,
            self.dilation,
        )  # fmt: skip

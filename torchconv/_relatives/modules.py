"""``Conv1d``, ``Conv3d`` and transposed layers: drop-ins for the layers of ``torch.nn``."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch._jit_internal import is_scripting
from torch.nn.modules.utils import _single

from torchconv import functional
from torchconv._arguments import lists_sides
from torchconv._integrations.one_node import one_node
from torchconv._padding import pad_scripted


@one_node
class Conv1d(nn.Conv1d):
    r"""Applies a 1-d convolution over a sequence of several channels.

    Like :class:`torch.nn.Conv1d` in everything but the computation: it has the same arguments,
    parameters, initialisation, ``state_dict``, ``repr`` and errors. Beyond those, ``padding`` may
    be ``(left, right)``, and ``'same'`` goes with a stride; see :func:`torchconv.conv1d`.

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

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: Any = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        steps = _single(stride)
        strided = padding == "same" and min(steps) >= 1
        super().__init__(
            in_channels, out_channels, kernel_size, 1 if strided else stride, padding, dilation,
            groups, bias, padding_mode, device, dtype,
        )  # fmt: skip
        if strided:
            self.stride = steps
        elif lists_sides(self.padding, 1):
            self._reversed_padding_repeated_twice = list(self.padding)  # type: ignore[assignment]

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not is_scripting():
            return functional.conv1d(
                input, weight, bias, self.stride, self.padding, self.dilation, self.groups,
                padding_mode=self.padding_mode,
            )  # fmt: skip
        same, sides = False, False
        if isinstance(self.padding, str):
            same = self.padding == "same" and max(self.stride) > 1
        else:
            sides = len(self.padding) == 2
        if same or sides or self.padding_mode != "zeros":
            input = pad_scripted(
                input, self.kernel_size, self.stride, self.dilation, same,  # type: ignore[arg-type]
                self._reversed_padding_repeated_twice, self.padding_mode,
            )  # fmt: skip
            return functional.conv1d(
                input, weight, bias, self.stride, 0, self.dilation, self.groups
            )
        return functional.conv1d(
            input, weight, bias, self.stride, self.padding, self.dilation, self.groups
        )


@one_node
class Conv3d(nn.Conv3d):
    r"""Applies a 3-d convolution over a volume of several channels.

    Like :class:`torch.nn.Conv3d` in everything but the computation, which is PyTorch's, too, unless
    the kernel is one of those of :func:`torchconv.conv3d`.

    Shape:
        - Input: ``(n, in_channels, d, h, w)`` or ``(in_channels, d, h, w)``
        - Output: ``(n, out_channels, o, p, q)`` or ``(out_channels, o, p, q)``
        - weight: ``(out_channels, in_channels / groups, *kernel_size)``
        - bias: ``(out_channels,)``

    Raises:
        ValueError: as the constructor of :class:`torch.nn.Conv3d`.
        RuntimeError: input and parameters do not fit together.

    Example:
        >>> import torch
        >>> layer = Conv3d(3, 8, kernel_size=(3, 1, 1), padding=(1, 0, 0))
        >>> layer
        Conv3d(3, 8, kernel_size=(3, 1, 1), stride=(1, 1, 1), padding=(1, 0, 0))
        >>> layer(torch.randn(2, 3, 4, 16, 16)).shape
        torch.Size([2, 8, 4, 16, 16])
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.padding_mode != "zeros":
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            return functional.conv3d(
                input, weight, bias, self.stride, 0, self.dilation, self.groups
            )
        return functional.conv3d(
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

"""``Conv2d``, which swaps in for ``torch.nn.Conv2d``, and ``convert``, which does the swapping."""

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torchconv import functional

Module = TypeVar("Module", bound=nn.Module)


class Conv2d(nn.Conv2d):
    r"""Applies a 2-d convolution over an image of several channels.

    A :class:`torch.nn.Conv2d` in everything but the computation: same arguments, parameters,
    initialisation, ``state_dict``, ``repr``, errors, and ``isinstance(layer, nn.Conv2d)``.

    Shape:
        - Input: ``(n, in_channels, h, w)`` or ``(in_channels, h, w)``
        - Output: ``(n, out_channels, p, q)`` or ``(out_channels, p, q)``, with ``(p, q)`` as given
          by :func:`torchconv.conv2d_output_size`
        - weight: ``(out_channels, in_channels / groups, *kernel_size)``
        - bias: ``(out_channels,)``

    Raises:
        ValueError: as the constructor of :class:`torch.nn.Conv2d`.
        RuntimeError: input and parameters do not fit together.

    Example:
        >>> import torch
        >>> layer = Conv2d(3, 6, kernel_size=5, stride=2)
        >>> layer
        Conv2d(3, 6, kernel_size=(5, 5), stride=(2, 2))
        >>> layer(torch.randn(4, 3, 32, 32)).shape
        torch.Size([4, 6, 14, 14])
        >>> sum(parameter.numel() for parameter in layer.parameters())
        456
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if torch.jit.is_scripting():  # TorchScript compiles calls of ATen only
            if self.padding_mode != "zeros":
                input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
                return F.conv2d(input, weight, bias, self.stride, 0, self.dilation, self.groups)
            return F.conv2d(
                input, weight, bias, self.stride, self.padding, self.dilation, self.groups
            )
        padding = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            padding = 0
        return functional.conv2d(
            input, weight, bias, self.stride, padding, self.dilation, self.groups
        )


def convert(module: Module) -> Module:
    """Makes every ``nn.Conv2d`` in ``module`` a :class:`Conv2d`, in place, and returns ``module``.

    Each layer stays the object it is: parameters, hooks, training flag and references to it from
    optimizers or other modules are kept. Subclasses of ``nn.Conv2d`` are left alone.

    Args:
        module: any module, or a ``nn.Conv2d`` itself.

    Example:
        >>> from torch import nn
        >>> convert(nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU()))
        Sequential(
          (0): Conv2d(1, 8, kernel_size=(3, 3), stride=(1, 1))
          (1): ReLU()
        )
        >>> type(convert(nn.Conv2d(1, 8, 3)))
        <class 'torchconv.modules.Conv2d'>
    """
    for layer in module.modules():
        if type(layer) is nn.Conv2d:
            layer.__class__ = Conv2d
    return module

"""``Conv2d``, a drop-in for ``torch.nn.Conv2d``."""

from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn
from torch._jit_internal import is_scripting

from torchconv import functional
from torchconv._one_node import one_node
from torchconv._winograd import Winograd


@one_node
class Conv2d(nn.Conv2d):
    r"""Applies a 2-d convolution over an image of several channels.

    Like :class:`torch.nn.Conv2d` in everything but the computation: it has the same arguments,
    parameters, initialisation, ``state_dict``, ``repr`` and errors, and
    ``isinstance(layer, nn.Conv2d)`` holds.

    Shape:
        - Input: ``(n, in_channels, h, w)`` or ``(in_channels, h, w)``
        - Output: ``(n, out_channels, p, q)`` or ``(out_channels, p, q)``, with ``(p, q)`` as given
          by :func:`torchconv.conv2d_output_size`
        - weight: ``(out_channels, in_channels / groups, *kernel_size)``
        - bias: ``(out_channels,)``

    Raises:
        ValueError: as the constructor of :class:`torch.nn.Conv2d`.
        RuntimeError: input and parameters do not fit together.

    Attributes:
        winograd: of this layer, what :func:`torchconv.set_winograd` chooses for all; None, the
            default, is what is chosen there. Layers of :func:`convert` have it, too.

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

    winograd = cast("Winograd | None", None)  # an annotation would not be one of TorchScript's

    def _conv_forward(
        self: nn.Conv2d, input: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        if getattr(self, "winograd", None) is not None and not is_scripting():
            return _in_mode_of_its_own(self, input, weight, bias)
        if self.padding_mode != "zeros":
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            return functional.conv2d(
                input, weight, bias, self.stride, 0, self.dilation, self.groups
            )
        return functional.conv2d(
            input, weight, bias, self.stride, self.padding, self.dilation, self.groups
        )

    def extra_repr(self) -> str:
        text = super().extra_repr()
        return text if self.winograd is None else f"{text}, winograd={self.winograd!r}"


def _in_mode_of_its_own(layer: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The rest of ``_conv_forward`` of a layer whose ``winograd`` is set.

    Apart, because TorchScript knows the arguments of aten::conv2d alone.
    """
    padding = layer.padding
    if layer.padding_mode != "zeros":
        input = F.pad(input, layer._reversed_padding_repeated_twice, mode=layer.padding_mode)
        padding = 0
    return functional.conv2d(
        input, weight, bias, layer.stride, padding, layer.dilation, layer.groups,
        winograd=layer.winograd,
    )  # fmt: skip

"""``Conv2d``, a drop-in for ``torch.nn.Conv2d``."""

from typing import Any, cast

from torch import Tensor, nn
from torch._jit_internal import is_scripting
from torch.nn.modules.utils import _pair

from torchconv import _padding, functional
from torchconv._arguments import lists_sides
from torchconv._integrations.one_node import one_node
from torchconv._winograd import Winograd


@one_node
class Conv2d(nn.Conv2d):
    r"""Applies a 2-d convolution over an image of several channels.

    Like :class:`torch.nn.Conv2d` in everything but the computation: it has the same arguments,
    parameters, initialisation, ``state_dict``, ``repr`` and errors, and
    ``isinstance(layer, nn.Conv2d)`` holds. Beyond those of :class:`torch.nn.Conv2d`, ``padding``
    may be ``(left, right, top, bottom)``, and ``'same'`` goes with a stride; see
    :func:`torchconv.conv2d`.

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
        >>> Conv2d(3, 6, 5, stride=2, padding="same")(torch.randn(4, 3, 32, 32)).shape
        torch.Size([4, 6, 16, 16])
    """

    winograd = cast("Winograd | None", None)  # an annotation would not be one of TorchScript's

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
        steps = _pair(stride)
        strided = padding == "same" and min(steps) >= 1
        super().__init__(
            in_channels, out_channels, kernel_size, 1 if strided else stride, padding, dilation,
            groups, bias, padding_mode, device, dtype,
        )  # fmt: skip
        if strided:
            self.stride = steps
        elif lists_sides(self.padding, 2):
            self._reversed_padding_repeated_twice = list(self.padding)  # type: ignore[assignment]

    def _conv_forward(
        self: nn.Conv2d, input: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        if not is_scripting():
            return _computed(self, input, weight, bias)
        # TorchScript compiles the rest, and knows the arguments of aten::conv2d alone.
        same, sides = False, False
        if isinstance(self.padding, str):
            same = self.padding == "same" and max(self.stride) > 1
        else:
            sides = len(self.padding) == 4
        if same or sides or self.padding_mode != "zeros":
            input = _padding.pad_scripted(
                input, self.kernel_size, self.stride, self.dilation, same,  # type: ignore[arg-type]
                self._reversed_padding_repeated_twice, self.padding_mode,
            )  # fmt: skip
            return functional.conv2d(
                input, weight, bias, self.stride, 0, self.dilation, self.groups
            )
        return functional.conv2d(
            input, weight, bias, self.stride, self.padding, self.dilation, self.groups
        )

    def extra_repr(self) -> str:
        text = super().extra_repr()
        return text if self.winograd is None else f"{text}, winograd={self.winograd!r}"


def _computed(layer: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``_conv_forward`` where Python runs it."""
    return functional.conv2d(
        input, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups,
        padding_mode=layer.padding_mode, winograd=getattr(layer, "winograd", None),
    )  # fmt: skip

"""``Conv2d``, a drop-in for ``torch.nn.Conv2d``, and ``convert``, which changes whole models."""

import weakref
from typing import Any, TypeVar, cast

from torch import Tensor, nn
from torch._jit_internal import is_scripting
from torch.nn.modules.utils import _pair
from torch.nn.utils.parametrize import type_before_parametrizations

from torchconv import _padding, functional
from torchconv._arguments import lists_sides
from torchconv._one_node import one_node
from torchconv._winograd import Winograd

Module = TypeVar("Module", bound=nn.Module)


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


class _ConvForward:
    """``_conv_forward`` of one layer that computes with torchconv and is an ``nn.Conv2d`` by type.

    The layer holds it as an attribute; copies of the layer, files too, hold one of their own. It
    refers to the layer weakly: in a cycle, a model's memory would wait for the garbage collector.
    """

    __slots__ = ("_layer",)

    def __init__(self, layer: nn.Conv2d) -> None:
        self._layer = weakref.ref(layer)

    def __call__(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        layer = self._layer()
        if layer is None:
            raise self._lost()
        return Conv2d._conv_forward(layer, input, weight, bias)

    def __reduce__(self) -> tuple[type["_ConvForward"], tuple[nn.Conv2d]]:
        layer = self._layer()
        if layer is None:
            raise self._lost()
        return _ConvForward, (layer,)

    @staticmethod
    def _lost() -> ReferenceError:
        return ReferenceError(
            "this layer is a shallow copy (copy.copy) of a converted layer that is gone; "
            "call torchconv.convert on the copy"
        )


def convert(module: Module) -> Module:
    """Makes every ``nn.Conv2d`` in ``module`` compute with torchconv, and returns ``module``.

    Each layer stays the same object, of the exact type ``nn.Conv2d``, so that tools that look at
    the type recognise it. Parameters, hooks, training flag, ``state_dict`` and references to it
    from optimizers or other modules are kept. Layers of class :class:`torchconv.Conv2d` become
    ``nn.Conv2d`` too. Subclasses are left alone (except the classes that
    ``torch.nn.utils.parametrize`` makes), and so are layers whose ``_conv_forward`` someone else
    has replaced, and a :class:`torchconv.Conv2d` with padding that ``nn.Conv2d`` does not know. A
    deep copy or a pickle of a layer is independent of it. A shallow copy
    (``copy.copy``) reads stride, padding and the like from its original until it is converted
    itself.

    Args:
        module: any module, or a ``nn.Conv2d`` itself. Converting it again changes nothing.

    Example:
        >>> from torch import nn
        >>> model = convert(nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU()))
        >>> model
        Sequential(
          (0): Conv2d(1, 8, kernel_size=(3, 3), stride=(1, 1))
          (1): ReLU()
        )
        >>> type(model[0]) is nn.Conv2d, is_converted(model[0])
        (True, True)
    """
    for layer in module.modules():
        if not isinstance(vars(layer).get("_conv_forward"), _ConvForward | None):
            continue
        kind = type(layer)
        if kind is Conv2d and not _padding.needs_pad(layer.padding, layer.stride):
            layer.__class__ = nn.Conv2d
            vars(layer).pop("__module__", None)
        if isinstance(layer, nn.Conv2d) and type_before_parametrizations(layer) is nn.Conv2d:
            vars(layer)["_conv_forward"] = _ConvForward(layer)
            vars(layer).setdefault("winograd", None)  # nn.Module is slow to say that there is none
    return module


def is_converted(layer: nn.Module) -> bool:
    """Whether a layer computes with torchconv.

    That is a :class:`Conv2d` of torchconv, or an ``nn.Conv2d`` after :func:`convert`.

    Args:
        layer: any module. Its submodules are not looked at.

    Example:
        >>> from torch import nn
        >>> is_converted(nn.Conv2d(1, 8, 3)), is_converted(convert(nn.Conv2d(1, 8, 3)))
        (False, True)
    """
    return isinstance(layer, Conv2d) or isinstance(vars(layer).get("_conv_forward"), _ConvForward)

"""What has to be replaced in a layer so that torchconv computes it, or why it is left alone."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from torchconv._convert.registry import registered_forward
from torchconv._convert.weak_method import is_replaced, is_replaced_by_others
from torchconv._padding import needs_pad
from torchconv._relatives.lazy import (
    LazyConv1d,
    LazyConv2d,
    LazyConv3d,
    LazyConvTranspose1d,
    LazyConvTranspose2d,
)
from torchconv._relatives.modules import Conv1d, Conv3d, ConvTranspose1d, ConvTranspose2d
from torchconv.modules import Conv2d

NAMESAKES: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: Conv1d,
    nn.Conv2d: Conv2d,
    nn.Conv3d: Conv3d,
    nn.ConvTranspose1d: ConvTranspose1d,
    nn.ConvTranspose2d: ConvTranspose2d,
    nn.LazyConv1d: LazyConv1d,
    nn.LazyConv2d: LazyConv2d,
    nn.LazyConv3d: LazyConv3d,
    nn.LazyConvTranspose1d: LazyConvTranspose1d,
    nn.LazyConvTranspose2d: LazyConvTranspose2d,
}
OURS = {ours: theirs for theirs, ours in NAMESAKES.items()}


class Plan(NamedTuple):
    """``method`` of a layer is to be ``run``; nothing, if torchconv computes the layer already."""

    method: str = ""
    run: Callable[..., Any] | None = None


def plan_of(layer: nn.Module) -> Plan | str | None:
    """What to do with a layer, why it is left alone, or None if it is no convolution."""
    kind = type(layer)
    if kind in OURS:
        return _unless_replaced(layer, _plan_as(OURS[kind], kind))
    if issubclass(kind, tuple(OURS)):
        return Plan()
    run = registered_forward(kind)
    if run is not None:
        return _unless_replaced(layer, Plan("forward", run))
    base = next((theirs for theirs in NAMESAKES if issubclass(kind, theirs)), None)
    if base is None:
        return _why_no_relative(kind) if issubclass(kind, _ConvNd) else None
    problem = _why_not_as(kind, base)
    return problem or _unless_replaced(layer, _plan_as(base, NAMESAKES[base]))


def counterpart(layer: nn.Module) -> type[nn.Module] | None:
    """The class of ``torch.nn`` that a layer of one of torchconv's classes can have."""
    theirs = OURS.get(type(layer))
    if theirs is None or not isinstance(layer, (nn.Conv1d, nn.Conv2d)):
        return theirs
    dimensions = 2 if isinstance(layer, nn.Conv2d) else 1
    return None if needs_pad(layer.padding, layer.stride, dimensions=dimensions) else theirs


def computes_with_torchconv(layer: nn.Module) -> bool:
    """Whether a layer is one of torchconv's by class, or was converted."""
    return isinstance(layer, tuple(OURS)) or is_replaced(layer)


def is_known(kind: type | str) -> bool:
    """Whether torchconv has a namesake of that class, or the class is one of torchconv."""
    return kind in NAMESAKES or (isinstance(kind, type) and issubclass(kind, tuple(OURS)))


def _plan_as(theirs: type[Any], ours: type[Any]) -> Plan:
    """Convolutions have ``_conv_forward`` to replace; transposed ones only ``forward``."""
    if issubclass(theirs, _ConvTransposeNd):
        return Plan("forward", ours.forward)
    return Plan("_conv_forward", ours._conv_forward)


def _unless_replaced(layer: nn.Module, plan: Plan) -> Plan | str:
    if is_replaced_by_others(layer, plan.method):
        return f"its {plan.method} was replaced"
    return plan


def _why_not_as(kind: type[Any], base: type[Any]) -> str | None:
    """Why a class may compute otherwise than its base after a replacement there, or None."""
    if kind.forward is base.forward and issubclass(base, _ConvTransposeNd):
        return None
    if not issubclass(base, _ConvTransposeNd) and kind._conv_forward is base._conv_forward:
        before_base = kind.__mro__[: kind.__mro__.index(base)]
        own = [each.forward for each in before_base if "forward" in vars(each)]
        if all(map(_comes_to_conv_forward, own)):
            return None
    return f"{kind.__name__} has a forward of its own; torchconv.register would let it be changed"


def _comes_to_conv_forward(forward: Any) -> bool:
    """Whether code leaves the convolution to ``_conv_forward``, as far as its names tell."""
    code = getattr(forward, "__code__", None)
    if code is None or hasattr(forward, "__wrapped__"):
        return False
    names = set(code.co_names)
    leaves_it = "_conv_forward" in names or names >= {"super", "forward"}
    return leaves_it and not any("conv" in name for name in names - {"_conv_forward"})


def _why_no_relative(kind: type[nn.Module]) -> str:
    return f"torchconv has no counterpart of {kind.__name__}"

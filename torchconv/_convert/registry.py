"""Classes of others that ``convert`` can change, and what runs in place of their ``forward``."""

from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from torchconv._convert.patched import patched

Forward = Callable[..., Any]
Kind = TypeVar("Kind", bound="type[nn.Module] | str")

_PATCHED = patched()


def run_patched(layer: nn.Module, *arguments: Any, **options: Any) -> Any:
    """The forward of the layer's own class, with the convolutions in it computed by torchconv."""
    with _PATCHED:
        return type(layer).forward(layer, *arguments, **options)


# By class, or by name: "timm.layers.std_conv.StdConv2d", which need not be imported for that.
_registered: dict[type | str, Forward] = dict.fromkeys(
    (
        "timm.layers.conv2d_same.Conv2dSame",
        "timm.layers.std_conv.StdConv2d",
        "timm.layers.std_conv.StdConv2dSame",
        "timm.layers.std_conv.ScaledStdConv2d",
        "timm.layers.std_conv.ScaledStdConv2dSame",
    ),
    run_patched,
)


def register(kind: Kind, forward: Forward | None = None) -> Kind:
    """Lets :func:`torchconv.convert` change layers of a class whose ``forward`` is its own.

    Needed only for classes that call ``F.conv2d`` themselves, or that override ``_conv_forward``:
    others are changed anyway. Some classes of timm are registered: ``Conv2dSame``, ``StdConv2d``,
    ``StdConv2dSame``, ``ScaledStdConv2d`` and ``ScaledStdConv2dSame``. Registering a class again
    replaces what was registered before; layers that are converted keep it.

    Args:
        kind: a class of modules, also one that is no convolution; or its full name, such as
            ``"timm.layers.std_conv.StdConv2d"``, whose module is not imported for that.
        forward: called as ``forward(layer, *arguments)`` in place of ``kind.forward``, for layers
            of that class and of subclasses that do not override it. A function that has a name in
            its module, so that converted layers can be pickled. None: the layer's own ``forward``
            inside of :class:`torchconv.patched`.

    Returns:
        ``kind``, so that this is a decorator of classes, too.

    Raises:
        TypeError: ``kind`` is neither a class of modules nor a name, or ``forward`` not callable.
        ValueError: torchconv computes ``kind`` without that.

    Example:
        >>> import torch, torchconv, torch.nn.functional as F
        >>> @torchconv.register
        ... class Centered(nn.Conv2d):
        ...     def forward(self, x):
        ...         weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        ...         return F.conv2d(x, weight, self.bias)
        >>> layer = torchconv.convert(Centered(3, 8, 5))
        >>> torchconv.is_converted(layer), type(layer) is Centered
        (True, True)
    """
    from torchconv._convert.plan import is_known

    if not isinstance(kind, str) and not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise TypeError(f"register(): kind must be a class of modules or its name, but got {kind}")
    if forward is not None and not callable(forward):
        raise TypeError(f"register(): forward must be callable or None, but got {forward}")
    if is_known(kind):
        raise ValueError(f"register(): torchconv computes {_name(kind)} without that")
    _registered[kind] = run_patched if forward is None else forward
    return kind


def registered_forward(kind: type[nn.Module]) -> Forward | None:
    """What is registered for a class, or for the one that it has its ``forward`` from."""
    for each in kind.__mro__:
        run = _registered.get(each) or _registered.get(_name(each))
        if run is run_patched or (run is not None and kind.forward is each.forward):
            return run
    return None


def _name(kind: type | str) -> str:
    return kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"

"""``revert``: what ``convert`` did, undone."""

import warnings
from typing import TypeVar

from torch import nn

from torchconv._convert.plan import computes_with_torchconv, counterpart
from torchconv._convert.weak_method import is_replaced, put_back

Module = TypeVar("Module", bound=nn.Module)


def revert(module: Module) -> Module:
    """Makes the layers in ``module`` compute with PyTorch again, in place, and returns ``module``.

    The opposite of :func:`torchconv.convert`. Layers that were built as torchconv's, such as
    :class:`torchconv.Conv2d`, become those of ``torch.nn``. Each layer stays the same object, with
    its parameters, hooks, training flag and ``state_dict``. An attribute ``winograd`` that was set
    stays, for the next :func:`torchconv.convert`.

    Layers that do more than one of ``torch.nn``, such as a :class:`torchconv.ConvActivation2d` or
    one with padding that ``torch.nn`` does not know,
    and classes derived from those of torchconv, also by parametrizations, go on computing with
    torchconv: for all calls of those, there is ``torchconv.backend("aten")``.

    Args:
        module: any module, or a layer itself. One that was never converted is not changed.

    Raises:
        TypeError: ``module`` is no module.

    Warns:
        UserWarning: there are layers that go on computing with torchconv.

    Example:
        >>> import torchconv
        >>> model = nn.Sequential(torchconv.convert(nn.Conv2d(1, 8, 3)), torchconv.Conv1d(8, 8, 3))
        >>> any(map(torchconv.is_converted, revert(model)))
        False
        >>> type(model[1]) is nn.Conv1d
        True
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"revert(): module must be a Module, but got {type(module).__name__}")
    left = []
    for name, layer in module.named_modules():
        if is_replaced(layer):
            put_back(layer)
            _forget_winograd(layer)
        theirs = counterpart(layer)
        if theirs is not None:
            layer.__class__ = theirs
            vars(layer).pop("__module__", None)
        elif computes_with_torchconv(layer):
            left.append(f"{name or 'the module'} ({type(layer).__name__})")
    if left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        text = "computes" if len(left) == 1 else "compute"
        warnings.warn(
            f"revert(): {left[0]}{more} still {text} with torchconv, having no counterpart in "
            "torch.nn",
            stacklevel=2,
        )
    return module


def _forget_winograd(layer: nn.Module) -> None:
    if vars(layer).get("winograd", ...) is None:
        del vars(layer)["winograd"]

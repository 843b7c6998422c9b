"""``convert``, which makes the layers of a model compute with torchconv."""

import copy
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from torch import nn

from torchconv._convert.plan import Plan, computes_with_torchconv, counterpart, plan_of
from torchconv._convert.selection import Rules, rules_of, selected
from torchconv._convert.weak_method import replace

Module = TypeVar("Module", bound=nn.Module)


def convert(
    module: Module,
    *,
    include: Rules | None = None,
    exclude: Rules | None = None,
    inplace: bool = True,
) -> Module:
    """Makes the convolutions in ``module`` compute with torchconv, and returns ``module``.

    These are ``nn.Conv1d``, ``nn.Conv2d``, ``nn.Conv3d``, ``nn.ConvTranspose1d``,
    ``nn.ConvTranspose2d``, their lazy versions, and layers of classes that are known to
    :func:`torchconv.register`.

    Each layer stays the same object, of its exact type, so that tools that look at the type
    recognise it. Parameters, hooks, training flag, ``state_dict`` and references to it from
    optimizers or other modules are kept. Layers of torchconv's classes, such as
    :class:`torchconv.Conv2d`, become those of ``torch.nn`` too. Subclasses are changed if they
    compute as ``torch.nn`` does, as those that ``torch.nn.utils.parametrize`` and ``fully_shard``
    make, or leave it to ``super().forward`` or ``self._conv_forward``. Other subclasses are left
    alone until they are registered, and so are layers of which someone else has replaced that
    method; :func:`torchconv.report` tells. Lazy layers stay lazy.

    A deep copy or a pickle of a layer is independent of it. A shallow copy (``copy.copy``) reads
    stride, padding and the like, and if it is a transposed or registered layer all else, from its
    original until it is converted itself.

    Args:
        module: any module, or a layer itself. Converting it again changes nothing.
        include: which layers; None: all. A pattern of names as in ``module.named_modules()``
            (``"layer1"``, ``"*.conv[12]"``), a class of modules, or a callable
            ``(name, layer) -> bool``; or a sequence of these, of which one has to hold. With a
            module all inside it are meant. Callables are asked about convolutions only.
        exclude: likewise, which of these not. Layers that are converted already stay converted.
        inplace: False converts a deep copy.

    Raises:
        TypeError: an argument has a wrong type.
        RuntimeError: ``inplace`` is False and the module cannot be copied.

    Warns:
        UserWarning: nothing was converted, or a pattern of names matches no module.

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
        >>> model = nn.Sequential(*(nn.Conv2d(8, 8, 3) for _ in "ab"), nn.ConvTranspose2d(8, 8, 2))
        >>> changed = convert(model, exclude=["0", nn.ConvTranspose2d], inplace=False)
        >>> [is_converted(layer) for layer in changed], [is_converted(layer) for layer in model]
        ([False, True, False], [False, False, False])
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"convert(): module must be a Module, but got {type(module).__name__}")
    included = None if include is None else rules_of("include", include)
    excluded = None if exclude is None else rules_of("exclude", exclude)
    if not inplace:
        module = _copied(module)
    chosen = set(module.modules())
    if included is not None:
        chosen &= selected(module, "include", included)
    if excluded is not None:
        chosen -= selected(module, "exclude", excluded)
    found = {layer: convert_layer(layer) for layer in module.modules() if layer in chosen}
    if not any(computes_with_torchconv(layer) for layer in chosen):
        limited = included is not None or excluded is not None
        warnings.warn(_nothing([*filter(None, found.values())], limited), stacklevel=2)
    return module


def convert_layer(layer: nn.Module) -> str | None:
    """Makes a convolution compute with torchconv. Returns why not, if it is left alone."""
    plan = plan_of(layer)
    if not isinstance(plan, Plan) or plan.run is None:
        return plan if isinstance(plan, str) else None
    theirs = counterpart(layer)
    if theirs is not None:
        layer.__class__ = theirs
        vars(layer).pop("__module__", None)
    replace(layer, plan.method, plan.run)
    if isinstance(layer, nn.Conv2d) and plan.method == "_conv_forward":
        vars(layer).setdefault("winograd", None)  # nn.Module is slow to say that there is none
    return None


def is_converted(layer: nn.Module) -> bool:
    """Whether a layer computes with torchconv.

    That is a layer of one of torchconv's classes, or another one after :func:`convert`.

    Args:
        layer: any module. Its submodules are not looked at.

    Example:
        >>> from torch import nn
        >>> is_converted(nn.Conv2d(1, 8, 3)), is_converted(convert(nn.Conv2d(1, 8, 3)))
        (False, True)
    """
    return computes_with_torchconv(layer)


def _copied(module: Module) -> Module:
    try:
        return copy.deepcopy(module)
    except Exception as error:  # whatever one of its parts raises
        raise RuntimeError(
            f"convert(): inplace=False needs a copy of the module, and copy.deepcopy fails: "
            f"{type(error).__name__}: {error}"
        ) from error


def _nothing(reasons: Sequence[str], limited: bool) -> str:
    text = "convert(): nothing was converted: "
    if reasons:
        often, count = Counter(reasons).most_common(1)[0]
        more = f" ({count} of {len(reasons)} layers)" if len(reasons) > 1 else ""
        return f"{text}{often}{more}; torchconv.report tells of each layer"
    if limited:
        return f"{text}include and exclude leave no convolution"
    return f"{text}the module has no convolution"

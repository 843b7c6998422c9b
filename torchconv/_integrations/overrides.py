"""Calls on tensors of classes that take functions in their own hands, ``__torch_function__``."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import handle_torch_function


def overridden(
    function: Callable[..., Tensor],
    namesake: Callable[..., Tensor],
    tensors: Sequence[Tensor | None],
    *options: Any,
    **mode: Any,
) -> Tensor:
    """A call of ``function`` on such subclasses, or under a torch function mode.

    The first arguments are ``tensors``. ``namesake`` is the function of PyTorch's for which it
    stands, and takes all but ``mode``.
    """
    given = [tensor for tensor in tensors if tensor is not None]
    if class_with_functions(given) is not None:
        return namesake(*tensors, *options)
    return handle_torch_function(function, given, *tensors, *options, **mode)


def class_with_functions(tensors: Sequence[Any]) -> type | None:
    """A class with an implementation of its own: it knows ``F.conv2d``, not torchconv."""
    return next((type(tensor) for tensor in tensors if _has_own_functions(type(tensor))), None)


def _has_own_functions(kind: type) -> bool:
    """Whether a class overrides ``__torch_function__``, other than to switch it off.

    A proxy of torch.fx does, but it records any function it meets.
    """
    if issubclass(kind, torch.fx.Proxy):
        return False
    implementation = getattr(kind, "__torch_function__", None)
    return (
        implementation is not None
        and implementation is not torch._C._disabled_torch_function_impl
        and getattr(implementation, "__func__", None) is not Tensor.__torch_function__.__func__
    )

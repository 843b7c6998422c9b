"""Casts the floating-point inputs of a model, whatever they are nested in."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree


@dataclass
class CastInputs:
    """A forward pre-hook; copies and files of a model keep it."""

    dtype: torch.dtype

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        return pytree.tree_map(self._cast, (args, kwargs))

    def _cast(self, value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point():
            return value.to(self.dtype)
        return value


def cast_inputs(model: nn.Module, dtype: torch.dtype) -> None:
    """Makes a model cast its inputs; one that did so before casts to the new dtype."""
    for hook in model._forward_pre_hooks.values():
        if isinstance(hook, CastInputs):
            hook.dtype = dtype
            return
    model.register_forward_pre_hook(CastInputs(dtype), prepend=True, with_kwargs=True)

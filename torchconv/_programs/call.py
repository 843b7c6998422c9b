"""Which calls a program may take over, as far as the call itself tells."""

from typing import Any

import torch
from torch import Tensor
from torch._C import (
    _are_functorch_transforms_active,
    _get_tracing_state,
    _is_any_autocast_enabled,
    _len_torch_dispatch_stack,
    _len_torch_function_stack,
)
from torch.autograd import forward_ad

from torchconv._config import reason_for_aten
from torchconv._winograd import CHOSEN

_threads = torch.get_num_threads
_is_grad_enabled = torch.is_grad_enabled

Key = tuple[Any, ...]


def key_of(arguments: tuple[Any, ...], count: int) -> Key | None:
    """What else, beside modules and weights, results and their layout depend on.

    None for a call that no program computes: on other than images on the CPU, with a derivative,
    or inside of anything that watches or changes what is called.
    """
    if (
        len(arguments) != count
        or _is_any_autocast_enabled()
        or _len_torch_function_stack()
        or _len_torch_dispatch_stack()
        or _are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or _get_tracing_state() is not None
    ):
        return None
    for each in arguments:
        if type(each) is not Tensor or each.dim() != 4 or not can_be_input(each):
            return None
        if reason_for_aten(each, each, None) is not None:
            return None
    return (
        *(signature(each) for each in arguments), CHOSEN.get(), _threads(),
    )  # fmt: skip


def can_be_input(value: Any) -> bool:
    return (
        type(value) is Tensor and value.is_cpu and not (value.requires_grad and _is_grad_enabled())
    )


def signature(value: Tensor) -> tuple[Any, ...]:
    """What decides how layers compute with a value."""
    return value.shape, value.stride(), value.dtype

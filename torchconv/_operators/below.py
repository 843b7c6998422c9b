"""The operators as those call them who have dealt with autograd already: below it.

At the dispatcher's autograd keys they would lead back to autograd.py.
"""

from collections.abc import Callable
from typing import Any

import torch

_AUTOGRAD = torch._C.DispatchKey.AutogradFunctionality
_is_excluded = torch._C._dispatch_tls_is_dispatch_key_excluded
_set_excluded = torch._C._dispatch_tls_set_dispatch_key_excluded


def below(op: torch._ops.OpOverload) -> Callable[..., Any]:
    """``op``, called below autograd.

    That is what ``torch._C._AutoDispatchBelowAutograd`` does, which takes three times as long.
    """
    call = getattr(op, "_op", op)  # one Python frame less on the way

    def call_below(*arguments: Any) -> Any:
        if _is_excluded(_AUTOGRAD):  # by inference mode, for one
            return call(*arguments)
        _set_excluded(_AUTOGRAD, True)
        try:
            return call(*arguments)
        finally:
            _set_excluded(_AUTOGRAD, False)

    return call_below


conv2d = below(torch.ops.torchconv.conv2d.default)
conv2d_grad_input = below(torch.ops.torchconv.conv2d_grad_input.default)
conv2d_grad_weight = below(torch.ops.torchconv.conv2d_grad_weight.default)
conv2d_backward = below(torch.ops.torchconv.conv2d_backward.default)
conv2d_each = below(torch.ops.torchconv.conv2d_each.default)
conv2d_each_grad_input = below(torch.ops.torchconv.conv2d_each_grad_input.default)
conv2d_each_grad_weight = below(torch.ops.torchconv.conv2d_each_grad_weight.default)
conv2d_activation = below(torch.ops.torchconv.conv2d_activation.default)
activate = below(torch.ops.torchconv.activate.default)
grad_weight_squares = below(torch.ops.torchconv._grad_weight_squares.default)

"""Which gradients a backward pass wants, of those that it might."""

from typing import Any

import torch
from torch.compiler import is_dynamo_compiling

_engine_runs = torch._C._will_engine_execute_node
_everything_is_wanted = torch.autograd.Variable._execution_engine.is_checkpoint_valid


def _goes_on_to(ctx: Any, argument: int) -> bool:
    """Whether the backward pass under way wants the gradient of a tensor that may have one."""
    try:
        return _engine_runs(ctx.next_functions[argument][0])
    except RuntimeError:  # so says PyTorch of a leaf whose gradient is wanted
        return True


def wanted(ctx: Any) -> tuple[bool, bool, bool]:
    """Of which of its first three arguments the backward pass under way wants the gradient.

    ``needs_input_grad`` tells which it might want. ``.backward()`` wants all of them, but
    ``torch.autograd.grad`` often one. An answer that comes as an exception takes as long as a tiny
    product; so nothing is asked that follows from other answers, nor for a bias beside its weight.
    """
    input, weight, bias, *_ = ctx.needs_input_grad
    if (input and (weight or bias)) and not is_dynamo_compiling() and not _everything_is_wanted():
        if weight and _goes_on_to(ctx, 1):
            return _goes_on_to(ctx, 0), True, bias
        bias = bias and _goes_on_to(ctx, 2)
        return not bias or _goes_on_to(ctx, 0), False, bias
    return input, weight, bias

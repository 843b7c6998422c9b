"""Whom a call of a relative asks for: torchconv or PyTorch."""

import torch
from torch import Tensor
from torch._C import _is_any_autocast_enabled
from torch.compiler import is_dynamo_compiling

from torchconv._autocast import autocast
from torchconv._config import reason_for_aten


def left_to_torch(input: Tensor, weight: Tensor, bias: Tensor | None, function: str) -> bool:
    """Whether ``torch.nn.functional`` computes a call, or refuses it.

    Raises:
        TypeError: an argument is not a tensor.
    """
    if reason_for_aten(input, weight, bias, function) is not None or weight.numel() == 0:
        return True
    if is_dynamo_compiling():
        from torchconv._integrations import dynamo  # noqa: F401  (tells Dynamo about the derivatives)
    return False


def cast(
    input: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What torch.autocast makes of the arguments where it is on."""
    if _is_any_autocast_enabled() and torch.is_autocast_enabled("cpu"):
        input, weight, bias = autocast(input, weight, bias, "cpu")
    return input, weight, bias

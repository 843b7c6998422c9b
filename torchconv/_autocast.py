"""What torch.autocast does to the arguments of an operator in its lower-precision list."""

import torch
from torch import Tensor
from torch._C import _are_functorch_transforms_active
from torch.compiler import is_dynamo_compiling

from torchconv._operators import load

_cached_cast = None if load.problem else torch.ops.torchconv._cached_cast.default._op


def autocast(
    input: Tensor, weight: Tensor, bias: Tensor | None, device: str
) -> tuple[Tensor, Tensor, Tensor | None]:
    """All in the dtype of autocast on ``device``.

    A weight that is a float32 parameter is cast once in a region: ATen's cache holds it, which its
    own operators use. The others are small or of one call, where asking for them takes longer.
    """
    dtype = torch.get_autocast_dtype(device)
    if (
        not is_dynamo_compiling()  # nor in a transform: there each call casts
        and weight.requires_grad
        and weight.is_leaf
        and weight.dtype is torch.float32
        and weight.device.type == device
        and _cached_cast is not None
        and torch.is_autocast_cache_enabled()  # which make_fx and torch.export switch off
        and not _are_functorch_transforms_active()
    ):
        weight = _cached_cast(weight, dtype)
    else:
        weight = _cast(weight, device, dtype)
    input = _cast(input, device, dtype)
    return input, weight, None if bias is None else _cast(bias, device, dtype)


def _cast(tensor: Tensor, device: str, dtype: torch.dtype) -> Tensor:
    if tensor.device.type != device or not tensor.is_floating_point():
        return tensor
    return tensor if tensor.dtype is torch.float64 else tensor.to(dtype)

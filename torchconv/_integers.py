"""``conv2d(..., out_dtype=torch.int32)``: exact sums of products of integers of 8 bits.

What such a call takes, and how ATen computes it: in float64, which holds every sum that is allowed.
The operator and its kernels are in csrc/cpu/torch/integer_cpu.cpp.
"""

from collections.abc import Sequence
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor

from torchconv import _arguments
from torchconv._padding import pad

IMAGES = frozenset((torch.uint8, torch.int8))
_LARGEST = 2**31 - 1


def check(input: Tensor, weight: Tensor, bias: Tensor | None, out_dtype: Any) -> None:
    """Raises TypeError for what is no dtype, RuntimeError for dtypes that are not computed."""
    if not isinstance(out_dtype, torch.dtype):
        kind = type(out_dtype).__name__
        raise TypeError(f"conv2d(): out_dtype must be a torch.dtype or None, but got {kind}")
    if out_dtype is not torch.int32:
        raise RuntimeError(f"conv2d(): out_dtype must be torch.int32 or None, but got {out_dtype}")
    given = {} if bias is None else {"bias": bias}
    _arguments.refuse_tensors("conv2d", input=input, weight=weight, **given)
    wanted = "with out_dtype=torch.int32,"
    if input.dtype not in IMAGES:
        raise RuntimeError(
            f"conv2d(): {wanted} input must be torch.uint8 or torch.int8, but got {input.dtype}"
        )
    if weight.dtype is not torch.int8:
        raise RuntimeError(f"conv2d(): {wanted} weight must be torch.int8, but got {weight.dtype}")
    if bias is None:
        return
    if bias.dtype is not torch.int32:
        raise RuntimeError(f"conv2d(): {wanted} bias must be torch.int32, but got {bias.dtype}")
    if weight.dim() == 4 and bias.shape != weight.shape[:1]:
        raise RuntimeError(
            f"conv2d(): Given weight of size {list(weight.shape)}, expected bias to be "
            f"1-dimensional with {weight.shape[0]} elements, but got bias of size "
            f"{list(bias.shape)} instead"
        )


def check_sums(input: Tensor, weight: Tensor, bias: int = 0) -> None:
    """Raises RuntimeError unless all sums of such a layer fit, whatever the values in it are."""
    products = weight.shape[1] * weight.shape[2] * weight.shape[3]
    largest = 128 * (128 if input.dtype is torch.int8 else 255)
    if products * largest + bias > _LARGEST:
        raise RuntimeError(
            f"conv2d(): sums of {products} products of up to {largest} and a bias of up to {bias} "
            f"may not fit into out_dtype=torch.int32; weight has size {list(weight.shape)}"
        )


def refuse_class(*tensors: Any) -> NoReturn:
    """Raises TypeError: classes with functions of their own know no out_dtype."""
    kinds = sorted({type(tensor).__name__ for tensor in tensors if isinstance(tensor, Tensor)})
    raise TypeError(f"conv2d(): out_dtype is for plain tensors, but got {' and '.join(kinds)}")


def decomposed(
    input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Sequence[int]
) -> Tensor:
    """The same sums in operators of ATen's."""
    last = torch.channels_last if geometry[-1] & 1 else torch.contiguous_format
    if weight.shape[1] == 0:  # which ATen does not take: a channel of zeros
        input = input.new_zeros(input.shape[0], geometry[8], *input.shape[2:])
        weight = weight.new_zeros(weight.shape[0], 1, *weight.shape[2:])
    sums = F.conv2d(
        pad(input.double(), geometry[2:6], "zeros"),
        weight.double(),
        None if bias is None else bias.double(),
        stride=geometry[:2],
        dilation=geometry[6:8],
        groups=geometry[8],
    )
    return sums.round().to(torch.int32).contiguous(memory_format=last)


def by_aten(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Sequence[int]) -> Tensor:
    """The operator where there are no kernels."""
    if bias is not None and bias.numel():
        check_sums(input, weight, int(bias.long().abs().max()))
    return decomposed(input, weight, bias, geometry)


def computed_by_aten(
    input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Sequence[int]
) -> Tensor:
    """A call that is left to ATen; where only shapes are known, no bias is looked at."""
    plain = bias is None or type(bias) in (Tensor, torch.nn.Parameter)
    traced = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
    if (
        plain
        and not traced
        and not torch._C._are_functorch_transforms_active()
        and not (bias is not None and bias.is_meta)
    ):
        return by_aten(input, weight, bias, geometry)
    return decomposed(input, weight, bias, geometry)


def batched(
    info: Any,
    in_dims: Sequence[Any],
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: Sequence[int],
) -> tuple[Tensor, int | None]:
    """What ``torch.vmap`` does to the operator."""
    from torchconv._operators import (
        vmap,  # which needs operators that need this module without a library
    )
    from torchconv._operators.each_in_groups import conv2d_within

    input_dim, weight_dim, bias_dim, *rest = in_dims
    if bias is not None and (weight_dim is None) != (bias_dim is None):  # both or neither
        if weight_dim is None:
            weight, weight_dim = weight.expand(info.batch_size, *weight.shape), 0
        else:
            bias, bias_dim = bias.expand(info.batch_size, *bias.shape), 0
    operator = torch.ops.torchconv.conv2d_int32
    if input_dim is not None and weight_dim is not None:
        input, weight = input.movedim(input_dim, 0), weight.movedim(weight_dim, 0)
        bias = None if bias is None else bias.movedim(bias_dim, 0)
        return conv2d_within(operator)(input, weight, bias, geometry), 0
    dims = input_dim, weight_dim, bias_dim, *rest
    return vmap.conv2d(operator, info, dims, input, weight, bias, geometry)

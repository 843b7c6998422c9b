"""What the autograd Functions of several files share."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

_grad_enabled = torch.is_grad_enabled


def recording(a: Tensor, b: Tensor) -> bool:
    """Whether ordinary autograd, reverse or forward, is to know of a product of these."""
    return forward_ad._current_level >= 0 or (
        _grad_enabled() and (a.requires_grad or b.requires_grad)
    )


def save(ctx: Any, a: Tensor, b: Tensor, sizes: Any, geometry: Sequence[int], *others: Any) -> None:
    """Keeps ``others``, and of the factors ``a`` and ``b`` what the derivatives need."""
    ctx.sizes, ctx.geometry = sizes, geometry
    ctx.set_materialize_grads(False)  # a tangent or a gradient that is not there costs nothing
    a_needed, b_needed, *_ = ctx.needs_input_grad
    ctx.save_for_backward(a if b_needed else None, b if a_needed else None, *others)
    if forward_ad._current_level >= 0:
        ctx.save_for_forward(a, b)  # dropped when the call returns


def product_rule(
    product: Any, a: Tensor, b: Tensor, a_t: Tensor | None, b_t: Tensor | None, *others: Any
) -> Tensor:
    """The tangent of ``product(a, b)``; one of the tangents may be None."""
    if a_t is None:
        return product(a, b_t, *others)
    if b_t is None:
        return product(a_t, b, *others)
    return product(a_t, b, *others) + product(a, b_t, *others)

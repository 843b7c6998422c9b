"""What the autograd Functions of several files share."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from torchconv._wanted import wanted

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


class Products(NamedTuple):
    """A convolution and its two gradients, of which each derivative of one is one again.

    The methods are parts of their autograd Functions.
    """

    conv2d: Callable[..., Tensor]
    grad_input: Callable[..., Tensor]
    grad_weight: Callable[..., Tensor]

    def conv2d_jvp(self, ctx: Any, *tangents: Tensor | None) -> Tensor | None:
        """None if the bias alone has a tangent."""
        input, weight = ctx.saved_tensors
        input_t, weight_t, bias_t, _ = tangents
        if input_t is not None:
            result = self.conv2d(input_t, weight, bias_t, ctx.geometry)
            if weight_t is None:
                return result
            return result + self.conv2d(input, weight_t, None, ctx.geometry)
        if weight_t is not None:
            return self.conv2d(input, weight_t, bias_t, ctx.geometry)
        return None

    def grad_input_backward(
        self, ctx: Any, *cotangents: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        (cotangent,) = cotangents
        if cotangent is None:
            return None, None, None, None
        grad, weight = ctx.saved_tensors
        grad_wanted, weight_wanted, _ = wanted(ctx)
        for_grad = for_weight = None
        if grad_wanted:
            for_grad = self.conv2d(cotangent, weight, None, ctx.geometry)
        if weight_wanted:
            for_weight = self.grad_weight(grad, cotangent, ctx.sizes[1], ctx.geometry)
        return for_grad, for_weight, None, None

    def grad_input_jvp(self, ctx: Any, *tangents: Tensor | None) -> Tensor:
        grad_t, weight_t, *_ = tangents
        return product_rule(
            self.grad_input, *ctx.saved_tensors, grad_t, weight_t, ctx.sizes[0], ctx.geometry
        )

    def grad_weight_backward(
        self, ctx: Any, *cotangents: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        (cotangent,) = cotangents
        if cotangent is None:
            return None, None, None, None
        grad, input = ctx.saved_tensors
        grad_wanted, input_wanted, _ = wanted(ctx)
        for_grad = for_input = None
        if grad_wanted:
            for_grad = self.conv2d(input, cotangent, None, ctx.geometry)
        if input_wanted:
            for_input = self.grad_input(grad, cotangent, ctx.sizes[0], ctx.geometry)
        return for_grad, for_input, None, None

    def grad_weight_jvp(self, ctx: Any, *tangents: Tensor | None) -> Tensor:
        grad_t, input_t, *_ = tangents
        return product_rule(
            self.grad_weight, *ctx.saved_tensors, grad_t, input_t, ctx.sizes[1], ctx.geometry
        )

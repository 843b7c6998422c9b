"""The derivatives of a convolution that ends with a residual addition and an activation.

Where the result tells the derivative of the activation (none, relu, relu6, sigmoid, leaky_relu),
nothing is saved that a convolution and the layer after it would not save: input, weight and result.
For the others (silu, hardswish, gelu) the sums before the activation are computed apart and saved.
Every derivative is made of functions that are differentiable again, so that there are derivatives
of any order. Under the transforms of torch.func and in forward mode ATen computes the activation.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from torchconv._activations.names import (
    GELU,
    HARDSWISH,
    LEAKY_RELU,
    NONE,
    RELU,
    RELU6,
    SIGMOID,
    SILU,
    activated,
)
from torchconv._operators import autograd, below
from torchconv._operators.derivatives import save

_aten = torch.ops.aten
Ints = Sequence[int]

# The gradient of the sums, of the one of the results and the results.
_FROM_RESULT: dict[int, Callable[[Tensor, Tensor, float], Tensor]] = {
    NONE: lambda grad, result, slope: grad,
    RELU: lambda grad, result, slope: _aten.threshold_backward(grad, result, 0),
    RELU6: lambda grad, result, slope: _aten.hardtanh_backward(grad, result, 0, 6),
    SIGMOID: lambda grad, result, slope: _aten.sigmoid_backward(grad, result),
    LEAKY_RELU: lambda grad, result, slope: _aten.leaky_relu_backward(grad, result, slope, True),
}

# The same, of the sums.
_FROM_SUMS: dict[int, Callable[[Tensor, Tensor, float], Tensor]] = {
    SILU: lambda grad, sums, slope: _silu_backward(grad, sums),
    HARDSWISH: lambda grad, sums, slope: _aten.hardswish_backward(grad, sums),
    GELU: lambda grad, sums, slope: _aten.gelu_backward(grad, sums),
    LEAKY_RELU: lambda grad, sums, slope: _aten.leaky_relu_backward(grad, sums, slope, False),
}


def _result_tells(activation: int, slope: float) -> bool:
    """Whether the derivative follows from the result: leaky_relu may change all signs."""
    return activation in _FROM_RESULT and (activation != LEAKY_RELU or slope > 0)


def _silu_backward(grad: Tensor, sums: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        return _aten.silu_backward(grad, sums)
    sigmoid = sums.sigmoid()  # aten::silu_backward has no derivative
    return grad * sigmoid * (1 + sums * (1 - sigmoid))


def conv2d_activation(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    geometry: Ints,
    activation: int,
    slope: float,
    packed: Tensor | None = None,
) -> Tensor:
    """Returns activation(conv2d + residual), [n, k, p, q].

    ``packed`` is what ``_pack_weights`` made of the weight, if that is at hand.
    """
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        sums = autograd.conv2d(input, weight, bias, geometry)
        return activated(sums, residual, activation, slope)
    if not torch.is_grad_enabled() or not (
        input.requires_grad
        or weight.requires_grad
        or (bias is not None and bias.requires_grad)
        or (residual is not None and residual.requires_grad)
    ):
        return below.conv2d_activation(
            input, weight, bias, residual, geometry, activation, slope, packed
        )
    if _result_tells(activation, slope):
        return _Conv2dActivation.apply(input, weight, bias, residual, geometry, activation, slope)
    return activate(autograd.conv2d(input, weight, bias, geometry), residual, activation, slope)


def activate(sums: Tensor, residual: Tensor | None, activation: int, slope: float) -> Tensor:
    """Returns activation(sums + residual), with the bits of ``conv2d_activation``."""
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return activated(sums, residual, activation, slope)
    if torch.is_grad_enabled() and (
        sums.requires_grad or (residual is not None and residual.requires_grad)
    ):
        return _Activate.apply(sums, residual, activation, slope)
    return below.activate(sums, residual, activation, slope)


class _Conv2dActivation(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        residual: Tensor | None,
        geometry: Ints,
        activation: int,
        slope: float,
        /,
    ) -> Tensor:
        result = below.conv2d_activation(input, weight, bias, residual, geometry, activation, slope)
        ctx.activation, ctx.slope = activation, slope
        sizes, kept_result = (input.shape, weight.shape), None if activation == NONE else result
        save(ctx, input, weight, sizes, geometry, kept_result)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        if grad is None:
            return (None,) * 7
        input, weight, result = ctx.saved_tensors
        grad = _FROM_RESULT[ctx.activation](grad, result, ctx.slope)
        gradients = autograd.wanted_gradients(ctx, grad, input, weight)
        return *gradients, grad if ctx.needs_input_grad[3] else None, None, None, None


class _Activate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, sums: Tensor, residual: Tensor | None, activation: int, slope: float, /
    ) -> Tensor:
        ctx.activation, ctx.slope = activation, slope
        ctx.set_materialize_grads(False)
        result = below.activate(sums, residual, activation, slope)
        ctx.from_result = _result_tells(activation, slope)
        ctx.save_for_backward(*((result,) if ctx.from_result else (sums, residual)))
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        if grad is None:
            return None, None, None, None
        if ctx.from_result:
            (result,) = ctx.saved_tensors
            grad = _FROM_RESULT[ctx.activation](grad, result, ctx.slope)
        else:
            sums, residual = ctx.saved_tensors
            sums = sums if residual is None else sums + residual
            grad = _FROM_SUMS[ctx.activation](grad, sums, ctx.slope)
        sums_wanted, residual_wanted, *_ = ctx.needs_input_grad
        return grad if sums_wanted else None, grad if residual_wanted else None, None, None

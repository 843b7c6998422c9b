"""Convolutions of one shape, each with an input and a weight of its own, with derivatives.

As the three operators, these are closed: every derivative of one of them is one of them again.
Shapes: as in autograd.py, with a dimension B in front of every tensor; sizes and geometry are
those of one convolution.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchconv._operators import below
from torchconv._operators.derivatives import Products, recording, save
from torchconv._operators.each_in_groups import grad_input_within
from torchconv._padding import mode_of
from torchconv._wanted import wanted

_transforms_active = torch._C._are_functorch_transforms_active
_grad_input_in_groups = grad_input_within(below.conv2d_grad_input)
Ints = Sequence[int]


def conv2d_each(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Ints) -> Tensor:
    """Returns [B, n, k, p, q]."""
    if (
        _transforms_active()
        or recording(input, weight)
        or (bias is not None and bias.requires_grad and torch.is_grad_enabled())
    ):
        return _Conv2dEach.apply(input, weight, bias, geometry)
    return below.conv2d_each(input, weight, bias, geometry)


def conv2d_each_grad_input(
    grad: Tensor, weight: Tensor, input_size: Ints, geometry: Ints
) -> Tensor:
    """Returns the gradients of the inputs, each of shape ``input_size``."""
    if _transforms_active() or recording(grad, weight):
        return _Conv2dEachGradInput.apply(grad, weight, input_size, geometry)
    return _grad_input(grad, weight, input_size, geometry)


def conv2d_each_grad_weight(
    grad: Tensor, input: Tensor, weight_size: Ints, geometry: Ints
) -> Tensor:
    """Returns the gradients of the weights, each of shape ``weight_size``."""
    if _transforms_active() or recording(grad, input):
        return _Conv2dEachGradWeight.apply(grad, input, weight_size, geometry)
    return below.conv2d_each_grad_weight(grad, input, weight_size, geometry)


def _grad_input(grad: Tensor, weight: Tensor, input_size: Ints, geometry: Ints) -> Tensor:
    """The operator knows no padding but zeros, whose gradients nobody wants."""
    zeros = mode_of(geometry) == "zeros"
    op = below.conv2d_each_grad_input if zeros else _grad_input_in_groups
    return op(grad, weight, input_size, geometry)


def _folded(tensor: Tensor | None, mapped: int | None, batch: int) -> Tensor | None:
    """Folds a mapped dimension into B; what is not mapped is the same for all."""
    if tensor is None:
        return None
    tensor = tensor.expand(batch, *tensor.shape) if mapped is None else tensor.movedim(mapped, 0)
    return tensor.flatten(0, 1)


def _mapped(op: Any, info: Any, in_dims: Sequence[Any], tensors: Any, *others: Any) -> Any:
    """What ``torch.vmap`` makes of one of the operators: one of more convolutions."""
    batch = info.batch_size
    count = tensors[0].shape[1 if in_dims[0] == 0 else 0]
    folded = [_folded(t, dim, batch) for t, dim in zip(tensors, in_dims, strict=False)]
    return op(*folded, *others).unflatten(0, (batch, count)), 0


_PRODUCTS = Products(conv2d_each, conv2d_each_grad_input, conv2d_each_grad_weight)


class _Conv2dEach(torch.autograd.Function):
    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        return below.conv2d_each(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        input, weight, _, geometry = inputs
        save(ctx, input, weight, (input.shape[1:], weight.shape[1:]), geometry)
        ctx.save_for_forward(input, weight)
        ctx.output_size = output.shape

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        if grad is None:
            return None, None, None, None
        input, weight = ctx.saved_tensors
        input_size, weight_size = ctx.sizes
        input_wanted, weight_wanted, bias_wanted = wanted(ctx)
        for_input = for_weight = for_bias = None
        if input_wanted:
            for_input = conv2d_each_grad_input(grad, weight, input_size, ctx.geometry)
        if weight_wanted:
            for_weight = conv2d_each_grad_weight(grad, input, weight_size, ctx.geometry)
        if bias_wanted:
            for_bias = grad.sum((1, 3, 4))
        return for_input, for_weight, for_bias, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        result = _PRODUCTS.conv2d_jvp(ctx, *tangents)
        if result is not None:
            return result
        bias_t = tangents[2]
        assert bias_t is not None  # one tangent there is
        return bias_t[:, None, :, None, None].expand(ctx.output_size)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        return _mapped(conv2d_each, info, in_dims, arguments[:3], arguments[3])


class _Conv2dEachGradInput(torch.autograd.Function):
    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        return _grad_input(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        grad, weight, input_size, geometry = inputs
        save(ctx, grad, weight, (input_size, weight.shape[1:]), geometry)
        ctx.save_for_forward(grad, weight)

    backward = staticmethod(_PRODUCTS.grad_input_backward)
    jvp = staticmethod(_PRODUCTS.grad_input_jvp)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        return _mapped(conv2d_each_grad_input, info, in_dims, arguments[:2], *arguments[2:])


class _Conv2dEachGradWeight(torch.autograd.Function):
    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        return below.conv2d_each_grad_weight(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        grad, input, weight_size, geometry = inputs
        save(ctx, grad, input, (input.shape[1:], weight_size), geometry)
        ctx.save_for_forward(grad, input)

    backward = staticmethod(_PRODUCTS.grad_weight_backward)
    jvp = staticmethod(_PRODUCTS.grad_weight_jvp)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        return _mapped(conv2d_each_grad_weight, info, in_dims, arguments[:2], *arguments[2:])

"""The three operators with derivatives of any order.

Each function takes the arguments of the operator of the same name and may be differentiated in
reverse and forward mode and mapped by ``torch.vmap``. Every derivative of one of them is one of
them again, so ``backward`` and ``jvp`` call these functions, not the operators: that is what makes
double backward and nested transforms work. The bias gradient is a plain sum. Where no derivative of
the gradients is wanted, as in training, one operator gives all three.

If nothing is to be differentiated or mapped, the operator is called directly. Otherwise there are
two Functions for each: torch.func needs one with ``setup_context``; PyTorch inspects its signature
at every call; that takes longer than a small convolution, so ordinary autograd has one without.

These functions are also what the operators, torch.ops.torchconv.*, do at the dispatcher's autograd
keys (registration.py), so that a graph which holds the operators differentiates as well. From here
the operators are therefore called below autograd (below.py).

Shapes: input [n, c, h, w], weight [k, c / groups, r, s], bias [k], grad [n, k, p, q]. ``geometry``
is what ``functional.resolve`` returns: (stride_h, stride_w, top, bottom, left, right, dilation_h,
dilation_w, groups, flags). The first of the flags is the memory format of the result; derivatives
keep it, as those of aten::convolution do. The others are for GPUs (_gpu/dispatch.py), or say which
sums may be formed on the CPU (_winograd.py).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from torchconv._operators import below, vmap
from torchconv._operators.derivatives import Products, recording, save
from torchconv._operators.results import output_size
from torchconv._wanted import wanted

_transforms_active = torch._C._are_functorch_transforms_active
_grad_enabled = torch.is_grad_enabled
Ints = Sequence[int]


def conv2d(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Ints) -> Tensor:
    """Returns [n, k, p, q]."""
    if _transforms_active():
        return _Conv2dTransformed.apply(input, weight, bias, geometry)
    if (
        recording(weight, input) or (bias is not None and bias.requires_grad and _grad_enabled())
    ) and not (
        # Of inference tensors alone PyTorch records nothing, parameters or not.
        input.is_inference() and weight.is_inference() and (bias is None or bias.is_inference())
    ):
        return _Conv2d.apply(input, weight, bias, geometry)
    return below.conv2d(input, weight, bias, geometry)


def conv2d_grad_input(grad: Tensor, weight: Tensor, input_size: Ints, geometry: Ints) -> Tensor:
    """Returns the gradient of the input, of shape ``input_size``: a transposed convolution."""
    if _transforms_active():
        return _Conv2dGradInputTransformed.apply(grad, weight, input_size, geometry)
    if recording(grad, weight):
        return _Conv2dGradInput.apply(grad, weight, input_size, geometry)
    return below.conv2d_grad_input(grad, weight, input_size, geometry)


def conv2d_grad_weight(grad: Tensor, input: Tensor, weight_size: Ints, geometry: Ints) -> Tensor:
    """Returns the gradient of the weight, of shape ``weight_size``."""
    if _transforms_active():
        return _Conv2dGradWeightTransformed.apply(grad, input, weight_size, geometry)
    if recording(grad, input):
        return _Conv2dGradWeight.apply(grad, input, weight_size, geometry)
    return below.conv2d_grad_weight(grad, input, weight_size, geometry)


def conv2d_backward(
    grad: Tensor,
    input: Tensor,
    weight: Tensor | None,
    weight_size: Ints,
    geometry: Ints,
    bias_needed: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of input, weight and bias.

    Without ``weight`` the first has no elements, nor has the last if it is not needed. One operator
    computes them unless a derivative of them is wanted: it has none.
    """
    if not (
        _transforms_active()
        or recording(grad, input)
        or (weight is not None and weight.requires_grad and _grad_enabled())
    ):
        return below.conv2d_backward(grad, input, weight, weight_size, geometry, bias_needed)
    return (
        grad.new_empty(0)
        if weight is None
        else conv2d_grad_input(grad, weight, input.shape, geometry),
        conv2d_grad_weight(grad, input, weight_size, geometry),
        _sum_per_channel(grad) if bias_needed else grad.new_empty(0),
    )


def _sum_per_channel(grad: Tensor) -> Tensor:
    """[n, k, p, q] -> [k], with the same bits on any number of threads.

    ATen splits a long sum to one number (from 2**15 terms) by threads, but not a sum to two.
    """
    if grad.shape[1] == 1 and grad.numel() >= 2**15:
        return grad.expand(-1, 2, -1, -1).sum((0, 2, 3))[:1]
    return grad.sum((0, 2, 3))


def wanted_gradients(
    ctx: Any, grad: Tensor, input: Tensor, weight: Tensor
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Of input, weight and bias, the first three arguments of a Function, those that are wanted."""
    input_size, weight_size = ctx.sizes
    input_wanted, weight_wanted, bias_wanted = wanted(ctx)
    grad_input = grad_weight = grad_bias = None
    if weight_wanted and not (
        _grad_enabled() or _transforms_active() or forward_ad._current_level >= 0
    ):
        grads = conv2d_backward(
            grad, input, weight if input_wanted else None, weight_size, ctx.geometry, bias_wanted
        )
        return grads[0] if input_wanted else None, grads[1], grads[2] if bias_wanted else None
    if input_wanted:
        grad_input = conv2d_grad_input(grad, weight, input_size, ctx.geometry)
    if weight_wanted:
        grad_weight = conv2d_grad_weight(grad, input, weight_size, ctx.geometry)
    if bias_wanted:
        grad_bias = _sum_per_channel(grad)
    return grad_input, grad_weight, grad_bias


_PRODUCTS = Products(conv2d, conv2d_grad_input, conv2d_grad_weight)


class _Conv2d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Ints, /
    ) -> Tensor:
        save(ctx, input, weight, (input.shape, weight.shape), geometry)
        return below.conv2d(input, weight, bias, geometry)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        if grad is None:
            return None, None, None, None
        return *wanted_gradients(ctx, grad, *ctx.saved_tensors), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        result = _PRODUCTS.conv2d_jvp(ctx, *tangents)
        if result is not None:
            return result
        bias_t = tangents[2]
        assert bias_t is not None  # one tangent there is
        input_size, weight_size = ctx.sizes
        return bias_t[:, None, None].expand(output_size(input_size, weight_size, ctx.geometry))


class _Conv2dGradInput(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, weight: Tensor, input_size: Ints, geometry: Ints, /
    ) -> Tensor:
        save(ctx, grad, weight, (input_size, weight.shape), geometry)
        return below.conv2d_grad_input(grad, weight, input_size, geometry)

    backward = staticmethod(_PRODUCTS.grad_input_backward)
    jvp = staticmethod(_PRODUCTS.grad_input_jvp)


class _Conv2dGradWeight(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, input: Tensor, weight_size: Ints, geometry: Ints, /
    ) -> Tensor:
        save(ctx, grad, input, (input.shape, weight_size), geometry)
        return below.conv2d_grad_weight(grad, input, weight_size, geometry)

    backward = staticmethod(_PRODUCTS.grad_weight_backward)
    jvp = staticmethod(_PRODUCTS.grad_weight_jvp)


class _Conv2dTransformed(_Conv2d):
    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        return below.conv2d(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        input, weight, _, geometry = inputs
        save(ctx, input, weight, (input.shape, weight.shape), geometry)
        ctx.save_for_forward(input, weight)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        return vmap.conv2d(conv2d, info, in_dims, *arguments)


class _Conv2dGradInputTransformed(_Conv2dGradInput):
    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        return below.conv2d_grad_input(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        grad, weight, input_size, geometry = inputs
        save(ctx, grad, weight, (input_size, weight.shape), geometry)
        ctx.save_for_forward(grad, weight)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        return vmap.conv2d_grad_input(conv2d_grad_input, info, in_dims, *arguments)


class _Conv2dGradWeightTransformed(_Conv2dGradWeight):
    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        return below.conv2d_grad_weight(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        grad, input, weight_size, geometry = inputs
        save(ctx, grad, input, (input.shape, weight_size), geometry)
        ctx.save_for_forward(grad, input)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        return vmap.conv2d_grad_weight(conv2d_grad_weight, info, in_dims, *arguments)

"""The three operators with derivatives of any order.

Each function takes the arguments of the operator of the same name and may be differentiated in
reverse and forward mode and mapped by ``torch.vmap``. Every derivative of one of them is one of
them again, so ``backward`` and ``jvp`` call these functions, not the operators: that is what makes
double backward and nested transforms work. The bias gradient is a plain sum. Where no derivative of
the gradients is wanted, as in training, one operator gives all three.

If nothing is to be differentiated or mapped, the operator is called directly. Otherwise there are
two Functions for each: torch.func needs one with ``setup_context``; PyTorch inspects its signature
at every call; that takes longer than a small convolution, so ordinary autograd has one without.
The operators themselves, torch.ops.torchconv.*, know nothing of autograd.

Shapes: input [n, c, h, w], weight [k, c / groups, r, s], bias [k], grad [n, k, p, q]. ``geometry``
is what ``functional.resolve`` returns: (stride_h, stride_w, top, bottom, left, right, dilation_h,
dilation_w, groups, flags). The first of the flags is the memory format of the result; derivatives
keep it, as those of aten::convolution do. The others are for GPUs (_cuda.py).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from torchconv import _vmap
from torchconv._fakes import output_size


def _callable(op: torch._ops.OpOverload) -> Any:
    """What calling ``op`` calls: one Python frame less on the way."""
    return getattr(op, "_op", op)


_op_conv2d = _callable(torch.ops.torchconv.conv2d.default)
_op_grad_input = _callable(torch.ops.torchconv.conv2d_grad_input.default)
_op_grad_weight = _callable(torch.ops.torchconv.conv2d_grad_weight.default)
_op_backward = _callable(torch.ops.torchconv.conv2d_backward.default)

_transforms_active = torch._C._are_functorch_transforms_active
_grad_enabled = torch.is_grad_enabled
_FORMATS = (torch.contiguous_format, torch.channels_last) * 16  # by all flags: the first decides


def _recording(a: Tensor, b: Tensor) -> bool:
    """Whether ordinary autograd, reverse or forward, is to know of a product of these."""
    return forward_ad._current_level >= 0 or (
        _grad_enabled() and (a.requires_grad or b.requires_grad)
    )


def conv2d(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Sequence[int]) -> Tensor:
    """Returns [n, k, p, q]."""
    if _transforms_active():
        return _Conv2dTransformed.apply(input, weight, bias, geometry)
    if _recording(weight, input) or (bias is not None and bias.requires_grad and _grad_enabled()):
        return _Conv2d.apply(input, weight, bias, geometry)
    return _op_conv2d(input, weight, bias, geometry)


def conv2d_grad_input(
    grad: Tensor, weight: Tensor, input_size: Sequence[int], geometry: Sequence[int]
) -> Tensor:
    """Returns the gradient of the input, of shape ``input_size``: a transposed convolution."""
    if _transforms_active():
        return _Conv2dGradInputTransformed.apply(grad, weight, input_size, geometry)
    if _recording(grad, weight):
        return _Conv2dGradInput.apply(grad, weight, input_size, geometry)
    return _op_grad_input(grad, weight, input_size, geometry)


def conv2d_grad_weight(
    grad: Tensor, input: Tensor, weight_size: Sequence[int], geometry: Sequence[int]
) -> Tensor:
    """Returns the gradient of the weight, of shape ``weight_size``."""
    if _transforms_active():
        return _Conv2dGradWeightTransformed.apply(grad, input, weight_size, geometry)
    if _recording(grad, input):
        return _Conv2dGradWeight.apply(grad, input, weight_size, geometry)
    return _op_grad_weight(grad, input, weight_size, geometry)


def conv2d_backward(
    grad: Tensor,
    input: Tensor,
    weight: Tensor | None,
    weight_size: Sequence[int],
    geometry: Sequence[int],
    bias_needed: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of input, weight and bias where no derivative of them is wanted.

    Without ``weight`` the first has no elements, nor has the last if it is not needed.
    """
    return _op_backward(grad, input, weight, weight_size, geometry, bias_needed)


def _save(ctx: Any, a: Tensor, b: Tensor, sizes: Any, geometry: Sequence[int]) -> None:
    """Keeps what the derivatives of a product of ``a`` and ``b`` need, and no more."""
    ctx.sizes, ctx.geometry = sizes, geometry
    a_needed, b_needed, *_ = ctx.needs_input_grad
    ctx.save_for_backward(a if b_needed else None, b if a_needed else None)
    if forward_ad._current_level >= 0:
        ctx.save_for_forward(a, b)  # dropped when the call returns


def _dense(grad: Tensor, geometry: Sequence[int]) -> Tensor:
    """``grad`` in the memory format of the result, once for all that read it.

    An expanded one comes from sum() or mean(), one of the other format from a layer behind.
    """
    if _transforms_active():  # torch.vmap cannot tell memory formats
        return grad
    return grad.contiguous(memory_format=_FORMATS[geometry[-1] & 1])


def _sum_per_channel(grad: Tensor) -> Tensor:
    """[n, k, p, q] -> [k], with the same bits on any number of threads.

    ATen splits a long sum to one number (from 2**15 terms) by threads, but not a sum to two.
    """
    if grad.shape[1] == 1 and grad.numel() >= 2**15:
        return grad.expand(-1, 2, -1, -1).sum((0, 2, 3))[:1]
    return grad.sum((0, 2, 3))


def _product_rule(
    product: Any, a: Tensor, b: Tensor, a_t: Tensor | None, b_t: Tensor | None, *others: Any
) -> Tensor:
    """The tangent of ``product(a, b)``; one of the tangents may be None."""
    if a_t is None:
        return product(a, b_t, *others)
    if b_t is None:
        return product(a_t, b, *others)
    return product(a_t, b, *others) + product(a, b_t, *others)


class _Conv2d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Sequence[int]
    ) -> Tensor:
        _save(ctx, input, weight, (input.shape, weight.shape), geometry)
        return _op_conv2d(input, weight, bias, geometry)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        input_size, weight_size = ctx.sizes
        input_needed, weight_needed, bias_needed, _ = ctx.needs_input_grad
        if weight_needed and not _grad_enabled() and not _transforms_active():
            grad_input, grad_weight, grad_bias = conv2d_backward(
                grad,
                input,
                weight if input_needed else None,
                weight_size,
                ctx.geometry,
                bias_needed,
            )
            return (
                grad_input if input_needed else None,
                grad_weight,
                grad_bias if bias_needed else None,
                None,
            )
        grad_input = grad_weight = grad_bias = None
        if not _grad_enabled():
            grad = _dense(grad, ctx.geometry)
        if input_needed:
            grad_input = conv2d_grad_input(grad, weight, input_size, ctx.geometry)
        if weight_needed:
            grad_weight = conv2d_grad_weight(grad, input, weight_size, ctx.geometry)
        if bias_needed:
            grad_bias = _sum_per_channel(grad)
        return grad_input, grad_weight, grad_bias, None

    @staticmethod
    def jvp(
        ctx: Any, input_t: Tensor | None, weight_t: Tensor | None, bias_t: Tensor | None, _: None
    ) -> Tensor:
        input, weight = ctx.saved_tensors
        if input_t is None and weight_t is None:
            size = output_size(*ctx.sizes, ctx.geometry)
            return bias_t[:, None, None].expand(size)
        if input_t is None:
            return conv2d(input, weight_t, bias_t, ctx.geometry)
        result = conv2d(input_t, weight, bias_t, ctx.geometry)
        if weight_t is None:
            return result
        return result + conv2d(input, weight_t, None, ctx.geometry)


class _Conv2dGradInput(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, weight: Tensor, input_size: Sequence[int], geometry: Sequence[int]
    ) -> Tensor:
        _save(ctx, grad, weight, (input_size, weight.shape), geometry)
        return _op_grad_input(grad, weight, input_size, geometry)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        grad, weight = ctx.saved_tensors
        grad_needed, weight_needed, *_ = ctx.needs_input_grad
        for_grad = for_weight = None
        if grad_needed:
            for_grad = conv2d(cotangent, weight, None, ctx.geometry)
        if weight_needed:
            for_weight = conv2d_grad_weight(grad, cotangent, ctx.sizes[1], ctx.geometry)
        return for_grad, for_weight, None, None

    @staticmethod
    def jvp(ctx: Any, grad_t: Tensor | None, weight_t: Tensor | None, *_: None) -> Tensor:
        grad, weight = ctx.saved_tensors
        return _product_rule(
            conv2d_grad_input, grad, weight, grad_t, weight_t, ctx.sizes[0], ctx.geometry
        )


class _Conv2dGradWeight(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, input: Tensor, weight_size: Sequence[int], geometry: Sequence[int]
    ) -> Tensor:
        _save(ctx, grad, input, (input.shape, weight_size), geometry)
        return _op_grad_weight(grad, input, weight_size, geometry)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        grad, input = ctx.saved_tensors
        grad_needed, input_needed, *_ = ctx.needs_input_grad
        for_grad = for_input = None
        if grad_needed:
            for_grad = conv2d(input, cotangent, None, ctx.geometry)
        if input_needed:
            for_input = conv2d_grad_input(grad, cotangent, ctx.sizes[0], ctx.geometry)
        return for_grad, for_input, None, None

    @staticmethod
    def jvp(ctx: Any, grad_t: Tensor | None, input_t: Tensor | None, *_: None) -> Tensor:
        grad, input = ctx.saved_tensors
        return _product_rule(
            conv2d_grad_weight, grad, input, grad_t, input_t, ctx.sizes[1], ctx.geometry
        )


class _Conv2dTransformed(_Conv2d):
    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        return _op_conv2d(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        input, weight, _, geometry = inputs
        _save(ctx, input, weight, (input.shape, weight.shape), geometry)
        ctx.save_for_forward(input, weight)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        return _vmap.conv2d(conv2d, info, in_dims, *arguments)


class _Conv2dGradInputTransformed(_Conv2dGradInput):
    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        return _op_grad_input(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        grad, weight, input_size, geometry = inputs
        _save(ctx, grad, weight, (input_size, weight.shape), geometry)
        ctx.save_for_forward(grad, weight)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        return _vmap.conv2d_grad_input(conv2d_grad_input, info, in_dims, *arguments)


class _Conv2dGradWeightTransformed(_Conv2dGradWeight):
    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        return _op_grad_weight(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        grad, input, weight_size, geometry = inputs
        _save(ctx, grad, input, (input.shape, weight_size), geometry)
        ctx.save_for_forward(grad, input)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        return _vmap.conv2d_grad_weight(conv2d_grad_weight, info, in_dims, *arguments)

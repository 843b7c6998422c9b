"""The three operators with derivatives of any order.

Each function takes the arguments of the operator of the same name and may be differentiated in
reverse and forward mode and mapped by ``torch.vmap``. Every derivative of one of them is one of
them again, so ``backward`` and ``jvp`` call these functions, not the operators: that is what makes
double backward and nested transforms work. The bias gradient is a plain sum.

If nothing is to be differentiated or mapped, the operator is called directly. Otherwise there are
two Functions for each: torch.func needs one with ``setup_context``; PyTorch inspects its signature
at every call; that takes longer than a small convolution, so ordinary autograd has one without.
The operators themselves, torch.ops.torchconv.*, know nothing of autograd.

Shapes: input [n, c, h, w], weight [k, c / groups, r, s], bias [k], grad [n, k, p, q];
stride (2), padding (top, bottom, left, right), dilation (2). ``channels_last`` is the memory format
of the result; derivatives keep it, as those of aten::convolution do.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from torchconv import _vmap
from torchconv._fakes import output_size

_op_conv2d = torch.ops.torchconv.conv2d.default
_op_grad_input = torch.ops.torchconv.conv2d_grad_input.default
_op_grad_weight = torch.ops.torchconv.conv2d_grad_weight.default

_transforms_active = torch._C._are_functorch_transforms_active


def _choose(
    a: Tensor,
    b: Tensor,
    c: Tensor | None,
    op: Any,
    function: type[torch.autograd.Function],
    transformed: type[torch.autograd.Function],
) -> Callable[..., Tensor]:
    """The cheapest form of an operator that records all that will be asked of these tensors."""
    if _transforms_active():
        return transformed.apply
    if forward_ad._current_level >= 0 or (
        torch.is_grad_enabled()
        and (a.requires_grad or b.requires_grad or (c is not None and c.requires_grad))
    ):
        return function.apply
    return op


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    channels_last: bool,
) -> Tensor:
    """Returns [n, k, p, q]."""
    call = _choose(input, weight, bias, _op_conv2d, _Conv2d, _Conv2dTransformed)
    return call(input, weight, bias, stride, padding, dilation, groups, channels_last)


def conv2d_grad_input(
    grad: Tensor,
    weight: Tensor,
    input_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    channels_last: bool,
) -> Tensor:
    """Returns the gradient of the input, of shape ``input_size``: a transposed convolution."""
    call = _choose(
        grad, weight, None, _op_grad_input, _Conv2dGradInput, _Conv2dGradInputTransformed
    )
    return call(grad, weight, input_size, stride, padding, dilation, groups, channels_last)


def conv2d_grad_weight(
    grad: Tensor,
    input: Tensor,
    weight_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    channels_last: bool,
) -> Tensor:
    """Returns the gradient of the weight, of shape ``weight_size``."""
    call = _choose(
        grad, input, None, _op_grad_weight, _Conv2dGradWeight, _Conv2dGradWeightTransformed
    )
    return call(grad, input, weight_size, stride, padding, dilation, groups, channels_last)


_NO_GRADIENTS = (None,) * 5  # of stride, padding, dilation, groups, channels_last


def _save(ctx: Any, a: Tensor, b: Tensor, geometry: Sequence[Any]) -> None:
    """Keeps what the derivatives of a product of ``a`` and ``b`` need, and no more."""
    ctx.geometry = geometry
    a_needed, b_needed = ctx.needs_input_grad[:2]
    ctx.save_for_backward(a if b_needed else None, b if a_needed else None)
    ctx.save_for_forward(a, b)  # dropped when the call returns


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
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        _Conv2d.save(ctx, arguments)
        return _op_conv2d(*arguments)

    @staticmethod
    def save(ctx: Any, arguments: tuple[Any, ...]) -> None:
        input, weight, _, *geometry = arguments
        ctx.input_size, ctx.weight_size = input.shape, weight.shape
        _save(ctx, input, weight, geometry)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        input_needed, weight_needed, bias_needed = ctx.needs_input_grad[:3]
        grad_input = grad_weight = grad_bias = None
        if input_needed:
            grad_input = conv2d_grad_input(grad, weight, ctx.input_size, *ctx.geometry)
        if weight_needed:
            grad_weight = conv2d_grad_weight(grad, input, ctx.weight_size, *ctx.geometry)
        if bias_needed:
            grad_bias = _sum_per_channel(grad)
        return grad_input, grad_weight, grad_bias, *_NO_GRADIENTS

    @staticmethod
    def jvp(
        ctx: Any, input_t: Tensor | None, weight_t: Tensor | None, bias_t: Tensor | None, *_: None
    ) -> Tensor:
        input, weight = ctx.saved_tensors
        if input_t is None and weight_t is None:
            size = output_size(input.shape, weight.shape, *ctx.geometry[:3])
            return bias_t[:, None, None].expand(size)
        if input_t is None:
            return conv2d(input, weight_t, bias_t, *ctx.geometry)
        result = conv2d(input_t, weight, bias_t, *ctx.geometry)
        if weight_t is None:
            return result
        return result + conv2d(input, weight_t, None, *ctx.geometry)


class _Conv2dGradInput(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        _Conv2dGradInput.save(ctx, arguments)
        return _op_grad_input(*arguments)

    @staticmethod
    def save(ctx: Any, arguments: tuple[Any, ...]) -> None:
        grad, weight, ctx.input_size, *geometry = arguments
        ctx.weight_size = weight.shape
        _save(ctx, grad, weight, geometry)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        grad, weight = ctx.saved_tensors
        grad_needed, weight_needed = ctx.needs_input_grad[:2]
        for_grad = for_weight = None
        if grad_needed:
            for_grad = conv2d(cotangent, weight, None, *ctx.geometry)
        if weight_needed:
            for_weight = conv2d_grad_weight(grad, cotangent, ctx.weight_size, *ctx.geometry)
        return for_grad, for_weight, None, *_NO_GRADIENTS

    @staticmethod
    def jvp(ctx: Any, grad_t: Tensor | None, weight_t: Tensor | None, *_: None) -> Tensor:
        grad, weight = ctx.saved_tensors
        return _product_rule(
            conv2d_grad_input, grad, weight, grad_t, weight_t, ctx.input_size, *ctx.geometry
        )


class _Conv2dGradWeight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        _Conv2dGradWeight.save(ctx, arguments)
        return _op_grad_weight(*arguments)

    @staticmethod
    def save(ctx: Any, arguments: tuple[Any, ...]) -> None:
        grad, input, ctx.weight_size, *geometry = arguments
        ctx.input_size = input.shape
        _save(ctx, grad, input, geometry)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        grad, input = ctx.saved_tensors
        grad_needed, input_needed = ctx.needs_input_grad[:2]
        for_grad = for_input = None
        if grad_needed:
            for_grad = conv2d(input, cotangent, None, *ctx.geometry)
        if input_needed:
            for_input = conv2d_grad_input(grad, cotangent, ctx.input_size, *ctx.geometry)
        return for_grad, for_input, None, *_NO_GRADIENTS

    @staticmethod
    def jvp(ctx: Any, grad_t: Tensor | None, input_t: Tensor | None, *_: None) -> Tensor:
        grad, input = ctx.saved_tensors
        return _product_rule(
            conv2d_grad_weight, grad, input, grad_t, input_t, ctx.weight_size, *ctx.geometry
        )


class _Conv2dTransformed(_Conv2d):
    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        return _op_conv2d(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _Conv2d.save(ctx, inputs)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        return _vmap.conv2d(conv2d, info, in_dims, *arguments)


class _Conv2dGradInputTransformed(_Conv2dGradInput):
    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        return _op_grad_input(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _Conv2dGradInput.save(ctx, inputs)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        return _vmap.conv2d_grad_input(conv2d_grad_input, info, in_dims, *arguments)


class _Conv2dGradWeightTransformed(_Conv2dGradWeight):
    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        return _op_grad_weight(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _Conv2dGradWeight.save(ctx, inputs)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        return _vmap.conv2d_grad_weight(conv2d_grad_weight, info, in_dims, *arguments)

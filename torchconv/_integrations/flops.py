"""Formulas for ``torch.utils.flop_counter``: a layer counts the same as ``torch.nn.Conv2d``.

They are registered once that module is there, which is mostly never: importing it takes longer than
importing torchconv.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch

from torchconv._integrations.imports import when_imported

Size = Sequence[int]


def _register(counter: ModuleType) -> None:
    ops, count = torch.ops.torchconv, counter.conv_flop_count

    @counter.register_flop_formula([ops.conv2d, ops.conv2d_int32])
    def _conv2d(input: Size, weight: Size, *_: Any, out_shape: Size, **__: Any) -> int:
        return count(input, weight, out_shape)

    @counter.register_flop_formula(ops.conv2d_activation)
    def _activation(input: Size, weight: Size, *_: Any, out_shape: Size, **__: Any) -> int:
        return count(input, weight, out_shape)

    def grad_input(grad: Size, weight: Size, input: Size) -> int:
        return count(grad, weight, input, transposed=True)

    # As PyTorch counts it: a convolution of the input with grad, n and c exchanged.
    def grad_weight(grad: Size, input: Size, weight: Size) -> int:
        return count(_exchanged(input), _exchanged(grad), _exchanged(weight))

    @counter.register_flop_formula(ops.conv2d_grad_input)
    def _grad_input(grad: Size, weight: Size, *_: Any, out_shape: Size, **__: Any) -> int:
        return grad_input(grad, weight, out_shape)

    @counter.register_flop_formula(ops.conv2d_grad_weight)
    def _grad_weight(grad: Size, input: Size, *_: Any, out_shape: Size, **__: Any) -> int:
        return grad_weight(grad, input, out_shape)

    @counter.register_flop_formula(ops.conv2d_each)
    def _each(input: Size, weight: Size, *_: Any, out_shape: Size, **__: Any) -> int:
        return input[0] * count(input[1:], weight[1:], out_shape[1:])

    @counter.register_flop_formula(ops.conv2d_each_grad_input)
    def _each_grad_input(grad: Size, weight: Size, *_: Any, out_shape: Size, **__: Any) -> int:
        return grad[0] * grad_input(grad[1:], weight[1:], out_shape[1:])

    @counter.register_flop_formula(ops.conv2d_each_grad_weight)
    def _each_grad_weight(grad: Size, input: Size, *_: Any, out_shape: Size, **__: Any) -> int:
        return grad[0] * grad_weight(grad[1:], input[1:], out_shape[1:])

    @counter.register_flop_formula(ops._grad_weight_squares)
    def _squares(grad: Size, input: Size, weight_size: Size, *_: Any, **__: Any) -> int:
        return grad[0] * grad_weight(grad[1:], input[1:], weight_size)

    @counter.register_flop_formula(ops.conv2d_backward)
    def _backward(
        grad: Size, input: Size, weight: Size | None, weight_size: Size, *_: Any, **__: Any
    ) -> int:
        flops = grad_weight(grad, input, weight_size)
        return flops if weight is None else flops + grad_input(grad, weight, input)


def _exchanged(size: Size) -> list[int]:
    return [size[1], size[0], *size[2:]]


def register() -> None:
    """Registers the formulas, now or when the counter is imported."""
    when_imported("torch.utils.flop_counter", _register)

"""Small convolutions of one shape with operands of their own, and the operators on them."""

from __future__ import annotations

import torch

import torchconv  # noqa: F401  (registers the operators)
from tests.cases import Conv2dCase, case

SMALL = case("small", 2, 4, (5, 6), 6, (2, 3), (2, 1), (1, 0, 2, 1), groups=2)


def small_operands():
    torch.manual_seed(0)
    sizes = (SMALL.input_size, SMALL.weight_size, (SMALL.k,), SMALL.output_size)
    return [torch.randn(3, *size, dtype=torch.float64, requires_grad=True) for size in sizes]


def call(op: str, shape: Conv2dCase, input, weight, bias, grad, channels_last=False):
    ops, geometry = torch.ops.torchconv, shape.geometry(channels_last)
    if op == "forward":
        return ops.conv2d_each.default(input, weight, bias, geometry)
    if op == "grad_input":
        return ops.conv2d_each_grad_input.default(grad, weight, shape.input_size, geometry)
    return ops.conv2d_each_grad_weight.default(grad, input, shape.weight_size, geometry)

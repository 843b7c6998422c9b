"""``conv2d_each`` and its gradients where no kernel computes them: on a GPU, or by ATen.

Each convolution becomes a group of one large convolution, whose channels are those of all of them.
``within`` makes an operator of that kind of one of the three. B is how many there are.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from torchconv._operators.results import empty_each, output_size

Operator = Callable[..., Tensor]
Ints = Sequence[int]


def conv2d_within(conv2d: Operator) -> Operator:
    def conv2d_each(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Ints) -> Tensor:
        batch, k = weight.shape[:2]
        if not batch:
            size = output_size(input.shape[1:], weight.shape[1:], geometry)
            return empty_each(input, size, geometry)
        output = conv2d(
            input.movedim(0, 1).flatten(1, 2),  # [n, B * c, h, w]
            weight.flatten(0, 1),  # [B * k, c / groups, r, s]
            None if bias is None else bias.flatten(),
            _grouped(geometry, batch),
        )
        return _apart(output.unflatten(1, (batch, k)).movedim(1, 0), geometry)

    return conv2d_each


def grad_input_within(conv2d_grad_input: Operator) -> Operator:
    def conv2d_each_grad_input(
        grad: Tensor, weight: Tensor, input_size: Ints, geometry: Ints
    ) -> Tensor:
        batch = len(grad)
        n, c, h, w = input_size
        if not batch:
            return empty_each(grad, input_size, geometry)
        result = conv2d_grad_input(
            grad.movedim(0, 1).flatten(1, 2),  # [n, B * k, p, q]
            weight.flatten(0, 1),  # [B * k, c / groups, r, s]
            (n, batch * c, h, w),
            _grouped(geometry, batch),
        )
        return _apart(result.unflatten(1, (batch, c)).movedim(1, 0), geometry)

    return conv2d_each_grad_input


def grad_weight_within(conv2d_grad_weight: Operator) -> Operator:
    def conv2d_each_grad_weight(
        grad: Tensor, input: Tensor, weight_size: Ints, geometry: Ints
    ) -> Tensor:
        batch = len(grad)
        k, c, r, s = weight_size  # c counts the channels of one group
        if not batch:
            return empty_each(grad, weight_size, geometry)
        result = conv2d_grad_weight(
            grad.movedim(0, 1).flatten(1, 2),  # [n, B * k, p, q]
            input.movedim(0, 1).flatten(1, 2),  # [n, B * c, h, w]
            (batch * k, c, r, s),
            _grouped(geometry, batch),
        )
        return _apart(result.unflatten(0, (batch, k)), geometry)

    return conv2d_each_grad_weight


def squares_within(conv2d_grad_weight: Operator) -> Operator:
    each = grad_weight_within(conv2d_grad_weight)

    def grad_weight_squares(
        grad: Tensor, input: Tensor, weight_size: Ints, geometry: Ints
    ) -> Tensor:
        if not len(grad):
            return grad.new_empty(0).double()
        one_by_one = zip(grad.split(1), input.split(1), strict=True)
        sums = [each(g, x, weight_size, geometry).double().square().sum() for g, x in one_by_one]
        return torch.stack(sums)

    return grad_weight_squares


def _grouped(geometry: Ints, batch: int) -> tuple[int, ...]:
    return (*geometry[:-2], batch * geometry[-2], geometry[-1])


def _apart(results: Tensor, geometry: Ints) -> Tensor:
    """[B, ...] with the strides that the kernels give."""
    return empty_each(results, results.shape[1:], geometry).copy_(results)

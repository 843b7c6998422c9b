"""What ``torch.vmap`` does to the three operators: fold the mapped dimension into a real one.

A mapped input or output gradient folds into the batch n, a mapped weight into its channels; if both
operands are mapped, they are as many convolutions (autograd_each.py). B is the size of the mapped
dimension. Each rule takes the arguments of its operator and returns ``(result, its mapped
dimension)``. All of them go through differentiable operators, so that transforms nest.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from torchconv._operators import autograd_each

Operator = Callable[..., Tensor]
Dims = Sequence[Any]  # for every argument its mapped dimension, or None


def _merge(tensor: Tensor, mapped: int, dim: int) -> Tensor:
    """Folds dimension ``mapped`` into dimension ``dim`` of the others: x becomes (B, x)."""
    return tensor.movedim(mapped, dim).flatten(dim, dim + 1)


def _merge_in_groups(tensor: Tensor, mapped: int, dim: int, groups: int) -> Tensor:
    """As _merge, but inside each group: (g, x) becomes (g, B, x)."""
    tensor = tensor.movedim(mapped, 0)
    extent = tensor.shape[dim + 1] // groups
    split = tensor.unflatten(dim + 1, (groups, extent))  # [B, .., g, x, ..]
    return split.movedim(0, dim + 1).flatten(dim, dim + 2)


def _split_in_groups(
    tensor: Tensor, dim: int, groups: int, batch: int, extent: int
) -> tuple[Tensor, int]:
    """Undoes _merge_in_groups: (g, B, x) becomes (g, x), ``extent`` long, with B in front."""
    sizes = (groups, batch, extent // groups)
    split = tensor.unflatten(dim, sizes).movedim(dim + 1, 0)  # [B, .., g, x, ..]
    return split.flatten(dim + 1, dim + 2), 0


def conv2d(
    op: Operator,
    info: Any,
    in_dims: Dims,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: Sequence[int],
) -> tuple[Tensor, int | None]:
    batch = info.batch_size
    input_dim, weight_dim, bias_dim = in_dims[:3]
    groups = geometry[-2]

    if input_dim is not None and weight_dim is not None:
        if bias is not None:
            bias = bias.expand(batch, -1) if bias_dim is None else bias.movedim(bias_dim, 0)
        input, weight = input.movedim(input_dim, 0), weight.movedim(weight_dim, 0)
        return autograd_each.conv2d_each(input, weight, bias, geometry), 0

    if bias is not None and (weight_dim is None) != (bias_dim is None):  # add it afterwards
        dims = (input_dim, weight_dim, None)
        output, output_dim = conv2d(op, info, dims, input, weight, None, geometry)
        if output_dim is not None:
            output = output.movedim(output_dim, 0)  # [B, n, k, p, q]
        if bias_dim is not None:
            bias = bias.movedim(bias_dim, 0)[:, None]  # [B, 1, k]
        return output + bias[..., None, None], 0

    if weight_dim is None:
        if input_dim is None:
            return op(input, weight, bias, geometry), None
        input = input.movedim(input_dim, 0)
        n = input.shape[1]
        merged = input.flatten(0, 1)  # [B * n, c, h, w]
        output = op(merged, weight, bias, geometry)
        return output.unflatten(0, (batch, n)), 0

    weight = weight.movedim(weight_dim, 0)
    k = weight.shape[1]
    weight = _merge_in_groups(weight, 0, 0, groups)  # [g * B * k / g, c / g, r, s]
    if bias is not None:
        bias = _merge_in_groups(bias, bias_dim, 0, groups)
    output = op(input, weight, bias, geometry)
    return _split_in_groups(output, 1, groups, batch, k)


def conv2d_grad_input(
    op: Operator,
    info: Any,
    in_dims: Dims,
    grad: Tensor,
    weight: Tensor,
    input_size: Sequence[int],
    geometry: Sequence[int],
) -> tuple[Tensor, int]:
    batch = info.batch_size
    n, c, h, w = input_size
    grad_dim, weight_dim = in_dims[:2]
    groups = geometry[-2]

    if weight_dim is None:
        merged = _merge(grad, grad_dim, 0)  # [B * n, k, p, q]
        result = op(merged, weight, (batch * n, c, h, w), geometry)
        return result.unflatten(0, (batch, n)), 0

    if grad_dim is None:
        weight = _merge(weight, weight_dim, 1)  # [k, B * c / g, r, s]
        result = op(grad, weight, (n, batch * c, h, w), geometry)
        return _split_in_groups(result, 1, groups, batch, c)

    grad, weight = grad.movedim(grad_dim, 0), weight.movedim(weight_dim, 0)
    return autograd_each.conv2d_each_grad_input(grad, weight, input_size, geometry), 0


def conv2d_grad_weight(
    op: Operator,
    info: Any,
    in_dims: Dims,
    grad: Tensor,
    input: Tensor,
    weight_size: Sequence[int],
    geometry: Sequence[int],
) -> tuple[Tensor, int]:
    batch = info.batch_size
    k, c, r, s = weight_size  # c counts the channels of one group
    grad_dim, input_dim = in_dims[:2]
    groups = geometry[-2]

    if input_dim is None:
        grad = _merge_in_groups(grad, grad_dim, 1, groups)  # [n, g * B * k / g, p, q]
        result = op(grad, input, (batch * k, c, r, s), geometry)
        return _split_in_groups(result, 0, groups, batch, k)

    if grad_dim is None:
        input = _merge_in_groups(input, input_dim, 1, groups)  # [n, g * B * c / g, h, w]
        result = op(grad, input, (k, batch * c, r, s), geometry)
        return result.unflatten(1, (batch, c)), 1

    grad, input = grad.movedim(grad_dim, 0), input.movedim(input_dim, 0)
    return autograd_each.conv2d_each_grad_weight(grad, input, weight_size, geometry), 0

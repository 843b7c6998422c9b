"""The operators computed by ATen: on devices without kernels of torchconv's, and on all of them
where there is no compiled library.

``torchconv.conv2d`` does not come here, it calls ``F.conv2d`` (_config.py). Exported programs and
other graphs that hold the operators do; and what is registered for them (derivatives, shapes,
decompositions, FLOPs) needs no second way. ``geometry`` is explained in csrc/library.cpp.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight

from torchconv import _integers
from torchconv._activations.names import activate, ending
from torchconv._operators.each_in_groups import (
    conv2d_within,
    grad_input_within,
    grad_weight_within,
    squares_within,
)
from torchconv._padding import mode_of, pad, unpad

Ints = Sequence[int]


def conv2d(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Ints) -> Tensor:
    return _dense(F.conv2d(_padded(input, geometry), weight, bias, **_options(geometry)), geometry)


def conv2d_grad_input(grad: Tensor, weight: Tensor, input_size: Ints, geometry: Ints) -> Tensor:
    n, c, h, w = input_size
    top, bottom, left, right = geometry[2:6]
    size = n, c, h + top + bottom, w + left + right
    padded = conv2d_input(size, weight, grad, **_options(geometry))
    return _dense(unpad(padded, input_size, geometry[2:6], mode_of(geometry)), geometry)


def conv2d_grad_weight(grad: Tensor, input: Tensor, weight_size: Ints, geometry: Ints) -> Tensor:
    result = conv2d_weight(_padded(input, geometry), weight_size, grad, **_options(geometry))
    return _dense(result, geometry)


def conv2d_backward(
    grad: Tensor,
    input: Tensor,
    weight: Tensor | None,
    weight_size: Ints,
    geometry: Ints,
    bias_needed: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    nothing = grad.new_empty(0)
    return (
        nothing if weight is None else conv2d_grad_input(grad, weight, input.shape, geometry),
        conv2d_grad_weight(grad, input, weight_size, geometry),
        grad.sum((0, 2, 3)) if bias_needed else nothing.clone(),
    )


def _pack_weights(weight: Tensor, input_size: Ints, geometry: Ints) -> Tensor:
    return torch.empty(0, dtype=torch.uint8)  # ATen reads none


def _padded(input: Tensor, geometry: Ints) -> Tensor:
    return pad(input, geometry[2:6], mode_of(geometry))


def _options(geometry: Ints) -> dict[str, Any]:
    return {"stride": geometry[:2], "dilation": geometry[6:8], "groups": geometry[8]}


def _dense(tensor: Tensor, geometry: Ints) -> Tensor:
    last = torch.channels_last if geometry[-1] & 1 else torch.contiguous_format
    return tensor.contiguous(memory_format=last)


def _operator(name: str) -> Callable[..., Any]:
    """The operator, which may have a kernel, for others that are made of it."""

    def call(*arguments: Any) -> Any:
        return getattr(torch.ops.torchconv, name)(*arguments)

    return call


_conv2d, _grad_input, _grad_weight = map(
    _operator, ("conv2d", "conv2d_grad_input", "conv2d_grad_weight")
)

# As csrc/library.cpp defines them.
OPERATORS = {
    "conv2d(Tensor input, Tensor weight, Tensor? bias, int[] geometry) -> Tensor": conv2d,
    "conv2d_int32(Tensor input, Tensor weight, Tensor? bias, int[] geometry) "
    "-> Tensor": _integers.by_aten,
    "conv2d_activation(Tensor input, Tensor weight, Tensor? bias, Tensor? residual, "
    "int[] geometry, int activation, float slope, Tensor? packed=None) "
    "-> Tensor": ending(_conv2d),
    "activate(Tensor input, Tensor? residual, int activation, float slope) -> Tensor": activate,
    "conv2d_grad_input(Tensor grad, Tensor weight, SymInt[] input_size, int[] geometry) "
    "-> Tensor": conv2d_grad_input,
    "conv2d_grad_weight(Tensor grad, Tensor input, SymInt[] weight_size, int[] geometry) "
    "-> Tensor": conv2d_grad_weight,
    "conv2d_each(Tensor input, Tensor weight, Tensor? bias, int[] geometry) "
    "-> Tensor": conv2d_within(_conv2d),
    "conv2d_each_grad_input(Tensor grad, Tensor weight, SymInt[] input_size, int[] geometry) "
    "-> Tensor": grad_input_within(_grad_input),
    "conv2d_each_grad_weight(Tensor grad, Tensor input, SymInt[] weight_size, int[] geometry) "
    "-> Tensor": grad_weight_within(_grad_weight),
    "_grad_weight_squares(Tensor grad, Tensor input, SymInt[] weight_size, int[] geometry) "
    "-> Tensor": squares_within(_grad_weight),
    "conv2d_backward(Tensor grad, Tensor input, Tensor? weight, SymInt[] weight_size, "
    "int[] geometry, bool bias_needed) -> (Tensor, Tensor, Tensor)": conv2d_backward,
    "_pack_weights(Tensor weight, int[] input_size, int[] geometry) -> Tensor": _pack_weights,
}


def implement(library: torch.library.Library) -> None:
    """Registers them for the devices that have no kernels, as long as ``library`` lives."""
    for schema, function in OPERATORS.items():
        library.impl(schema.partition("(")[0], function, "CompositeExplicitAutograd")


def define() -> torch.library.Library:
    """Defines the operators as well."""
    library = torch.library.Library("torchconv", "FRAGMENT")
    for schema in OPERATORS:
        library.define(schema)
    implement(library)
    return library

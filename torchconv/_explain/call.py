"""What ``explain`` tells of a call of ``conv2d`` or of one of its relatives."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import has_torch_function_variadic

from torchconv import _config, _explain, _padding
from torchconv._arguments import integer, pair, refuse_rank, single
from torchconv._integrations.overrides import class_with_functions
from torchconv._relatives.asked import cast
from torchconv._relatives.conv1d import resolve as resolve_1d
from torchconv._relatives.conv3d import as_2d
from torchconv._relatives.transposed_geometry import Options, resolve

# A transposed convolution is the gradient of a convolution's input, and the other way round.
_TRANSPOSED = {"forward": "grad_input", "grad_input": "forward", "grad_weight": "grad_weight"}


def explain_call(
    function: str,
    arguments: tuple[Any, ...],
    winograd: Any = None,
    padding_mode: Any = "zeros",
) -> str:
    """As :func:`torchconv.explain`, of a function by name with all its arguments.

    Raises:
        RuntimeError, TypeError, ValueError: as that function of torchconv.
    """
    if function == "conv2d":
        return _explain.explain(*arguments, padding_mode=padding_mode, winograd=winograd)
    input, weight, bias, *options = arguments
    reason = _left_to_torch(input, weight, bias, function)
    if reason is not None:
        return f"aten: {reason}"
    input, weight, bias = cast(input, weight, bias)
    if function == "conv3d":
        return _of_volumes(input, weight, bias, *options)
    dimensions = 1 if function.endswith("1d") else 2
    if input.dim() == dimensions + 1:
        input = input.unsqueeze(0)
    if function == "conv1d":
        mode = _padding.flags(padding_mode, "conv1d")
        geometry = resolve_1d(input, weight, bias, *options, mode=mode)
        images = input.contiguous().unsqueeze(2)
        return _explain.of_operators(images.shape, weight.unsqueeze(2).shape, geometry, input.dtype)
    if input.dim() != dimensions + 2 or weight.dim() != dimensions + 2:
        refuse_rank(input, weight, function, dimensions + 2)
    if dimensions == 1:
        input, weight = input.contiguous().unsqueeze(2), weight.unsqueeze(2)
    size, geometry = _resolved(function, input, weight, bias, options)
    return _explain.of_operators(size, weight.shape, geometry, input.dtype, _TRANSPOSED)


def _of_volumes(input: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> str:
    if input.dim() == 4:
        input = input.unsqueeze(0)
    call = as_2d(input, weight, bias, *options)
    if isinstance(call, str):
        added = None if bias is None else bias.to("meta")
        F.conv3d(input.to("meta"), weight.to("meta"), added, *options)  # knows if they are right
        return f"aten: {call}"
    return _explain.explain(*call.arguments)


def _left_to_torch(input: Tensor, weight: Tensor, bias: Tensor | None, name: str) -> str | None:
    tensors = [tensor for tensor in (input, weight, bias) if tensor is not None]
    kind = class_with_functions(tensors) if has_torch_function_variadic(*tensors) else None
    if kind is not None:
        return f"{kind.__name__} has a __torch_function__ of its own"
    reason = _config.reason_for_aten(input, weight, bias, name)
    if reason is None and weight.numel() == 0:
        return "the weight has no elements"
    return f"torchconv has no kernels for {name} on a GPU" if reason == _config.ON_CUDA else reason


def _resolved(
    name: str, input: Tensor, weight: Tensor, bias: Tensor | None, given: list[Any]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Size of the result, and geometry of the convolution that is transposed to compute it."""
    stride, padding, output_padding, groups, dilation = given

    def sides(value: Any, argument: str, other: int) -> tuple[int, int]:
        if name == "conv_transpose1d":
            return other, single(value, argument, name)
        return pair(value, argument, name)

    options = Options(
        name,
        sides(stride, "stride", 1),
        sides(padding, "padding", 0),
        sides(output_padding, "output_padding", 0),
        sides(dilation, "dilation", 1),
        integer(groups, "groups", name),
    )
    size, geometry = resolve(input, weight, bias, options)
    if options.beyond_a_step():
        whole = options._replace(padding=(0, 0), output_padding=(0, 0))
        size, geometry = resolve(input, weight, None, whole)
    return size, geometry

"""What users are told about a call and about the installation."""

import os
import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor, nn
from torch._C import _is_any_autocast_enabled
from torch.overrides import has_torch_function_variadic

from torchconv import _config, _machine, _padding, _winograd, functional
from torchconv._gpu import dispatch
from torchconv._integrations.overrides import class_with_functions
from torchconv._operators import load
from torchconv._winograd import Winograd

if TYPE_CHECKING:
    from torchconv._explain.model import Explanation

Ints = functional.Ints

_AS_NAMED = {name: name for name in dispatch.OPERATORS}
_NO_IMAGES = "nothing to compute in a batch of no images"


@overload
def explain(input: nn.Module, weight: Any) -> "Explanation": ...


@overload
def explain(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    padding_mode: functional.PaddingMode = "zeros",
    winograd: Winograd | None = None,
) -> str: ...


def explain(
    input: Any,
    weight: Any,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    padding_mode: functional.PaddingMode = "zeros",
    winograd: Winograd | None = None,
) -> "str | Explanation":
    """Tells which algorithm computes a convolution and its gradients, and why not the others.

    Takes the arguments of :func:`torchconv.conv2d` and computes nothing. Only shapes, dtypes,
    memory format and device matter, and what is set.

    ``explain(model, example_input)`` tells it of each convolution of a model or layer, 1-d,
    3-d and transposed ones too. The model runs once for that, in eval mode and without gradients,
    and stays as it is. As in :func:`torchconv.compare`, it does not matter whether it is converted:
    what is told is what torchconv does with such layers. :func:`torchconv.report` says whether it
    does.

    Returns:
        A text; or, for a model, a list of :class:`LayerExplanation`, one for each call of a
        convolution with other sizes, which ``print`` shows as text.

    Raises:
        RuntimeError, TypeError, ValueError: as :func:`torchconv.conv2d`.
        Exception: whatever a model raises for ``example_input``.

    Example:
        >>> import torch
        >>> print(explain(torch.zeros(1, 1, 6, 6), torch.zeros(2, 1, 3, 3)))  # doctest: +ELLIPSIS
        forward: ...
        >>> explain(torch.zeros(1, 1, 6, 6).long(), torch.zeros(2, 1, 3, 3).long())
        'aten: torchconv has no kernels for input torch.int64 and weight torch.int64'
        >>> found = explain(nn.Conv1d(4, 8, 3), torch.zeros(1, 4, 9))
        >>> found[0].output_size
        (1, 8, 7)
        >>> print(found)  # doctest: +ELLIPSIS
        Conv1d(4, 8, kernel 3), 1x4x9 -> 1x8x7
        ...
    """
    options = stride, padding, dilation, groups
    if isinstance(input, nn.Module):
        return _of_model(input, weight, bias, *options, padding_mode, winograd)
    flags = _winograd.CHOSEN.get() if winograd is None else _winograd.flags(winograd)
    flags += _padding.flags(padding_mode)
    reason = _left_to_aten(input, weight, bias, *options)
    if reason is not None and reason != _config.ON_CUDA:
        return f"aten: {reason}"
    input, weight, _, geometry = functional.resolved(input, weight, bias, *options)
    if reason != _config.ON_CUDA:
        geometry = (*geometry[:-1], geometry[-1] | flags)
        return of_operators(input.shape, weight.shape, geometry, input.dtype)
    geometry, reasons = dispatch.choice(input, weight, geometry, _config.get_backend())
    explain_op = torch.ops.torchconv._explain_cuda
    lines = []
    for op, left_to_aten in zip(dispatch.OPERATORS, reasons, strict=True):
        if input.shape[0] == 0:
            text = _NO_IMAGES
        elif left_to_aten is None:
            text = explain_op(op, input.shape, weight.shape, geometry, _name(input.dtype))
        else:
            text = f"aten: {left_to_aten}"
        lines.append(f"{op}: {text}")
    return "\n".join(lines)


def _of_model(model: nn.Module, example_input: Any, *others: Any) -> "Explanation":
    from torchconv._explain.model import explain_model

    if others != (None, 1, 0, 1, 1, "zeros", None):
        raise TypeError("explain(): a model takes an example_input and no other argument")
    return explain_model(model, example_input)


def of_operators(
    input_size: Sequence[int],
    weight_size: Sequence[int],
    geometry: tuple[int, ...],
    dtype: torch.dtype,
    operators: Mapping[str, str] = _AS_NAMED,
) -> str:
    """What computes a convolution on the CPU; ``operators`` say which one stands for which."""
    lines = []
    for name, op in operators.items():
        text = _NO_IMAGES
        if input_size[0] > 0:
            text = torch.ops.torchconv._explain(op, input_size, weight_size, geometry, _name(dtype))
        lines.append(f"{name}: {text}")
    return "\n".join(lines)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def forward_part(explained: str) -> str:
    """What :func:`explain` says of the convolution itself, without its gradients."""
    return explained.partition("\ngrad_input: ")[0].removeprefix("forward: ")


def forward_algorithm(explained: str) -> str:
    """The name of the algorithm that computes it; ``"aten"`` where it is PyTorch's."""
    return forward_part(explained).splitlines()[-1].partition(":")[0]


def _left_to_aten(
    input: Tensor, weight: Tensor, bias: Tensor | None, *options: object
) -> str | None:
    """Why ``conv2d`` hands all to ``F.conv2d``, or None or ON_CUDA as _config.reason_for_aten.

    Raises:
        RuntimeError, TypeError, ValueError: as ``conv2d``.
    """
    tensors = [tensor for tensor in (input, weight, bias) if tensor is not None]
    kind = class_with_functions(tensors) if has_torch_function_variadic(*tensors) else None
    if kind is not None:
        reason = f"{kind.__name__} has a __torch_function__ of its own"
    else:
        reason = _config.reason_for_aten(input, weight, bias)
    if reason is not None and reason != _config.ON_CUDA:
        dtype = input.dtype if _is_any_autocast_enabled() else None  # which may make them one
        functional.resolved(
            _without_data(input, dtype),
            _without_data(weight, dtype),
            None if bias is None else _without_data(bias, dtype),
            *options,
        )
    return reason


def _without_data(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return torch.empty(tuple(tensor.shape), dtype=dtype or tensor.dtype, device="meta")


def show_config() -> str:
    """Returns versions, machine, instruction set and settings, for bug reports.

    Example:
        >>> print(show_config())  # doctest: +ELLIPSIS
        torchconv ...
    """
    from torchconv import __version__

    variables = [
        f"{name}={value}" for name, value in os.environ.items() if name.startswith("TORCHCONV_")
    ]
    return "\n".join(
        (
            f"torchconv {__version__}",
            f"torch {torch.__version__}, Python {platform.python_version()}",
            f"system: {platform.platform()}",
            f"CPU: {_machine.cpu_name()}",
            f"memory: {_machine.memory()}",
            f"CPU kernels: {_cpu_kernels()}",
            f"CUDA kernels: {_cuda_kernels()}",
            f"threads: {torch.get_num_threads()}",
            f"PyTorch's parallel settings: {_machine.parallel_settings()}",
            f"backend: {_config.get_backend()}",
            f"winograd: {_winograd.get_winograd()}",
            f"environment: {' '.join(sorted(variables)) or 'no TORCHCONV_ variable is set'}",
        )
    )


def _cpu_kernels() -> str:
    if load.problem is not None:
        return f"none, {load.problem}; ATen computes everything"
    ops = torch.ops.torchconv
    return f"instruction set {ops._isa()}, compiled by {ops._compiler()}"


def _cuda_kernels() -> str:
    if load.cuda_problem is not None:
        return f"none, {load.cuda_problem}"
    names = [line.split()[0] for line in torch.ops.torchconv._algorithms_cuda().splitlines()]
    found = ", ".join(sorted(dispatch.accepted().capabilities)) or "none"
    toolkit = torch.ops.torchconv._toolkit_cuda()
    return f"{' '.join(names)} (CUDA {toolkit}); 'auto' runs some on compute capability: {found}"

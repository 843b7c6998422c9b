"""What users are told about a call and about the installation."""

import os
import platform
from typing import Any

import torch
from torch import Tensor
from torch._C import _is_any_autocast_enabled
from torch.overrides import has_torch_function_variadic

from torchconv import _config, _cuda, _load, _machine, _padding, _winograd, functional
from torchconv._overrides import class_with_functions
from torchconv._winograd import Winograd

Ints = functional.Ints


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
) -> str:
    """Tells which algorithm computes a convolution and its gradients, and why not the others.

    Takes the arguments of :func:`torchconv.conv2d` and computes nothing. Only shapes, dtypes,
    memory format and device matter, and what is set.

    Raises:
        RuntimeError, TypeError, ValueError: as :func:`torchconv.conv2d`.

    Example:
        >>> import torch
        >>> print(explain(torch.zeros(1, 1, 6, 6), torch.zeros(2, 1, 3, 3)))  # doctest: +ELLIPSIS
        forward: ...
        >>> explain(torch.zeros(1, 1, 6, 6).long(), torch.zeros(2, 1, 3, 3).long())
        'aten: torchconv has no kernels for input torch.int64 and weight torch.int64'
    """
    options = stride, padding, dilation, groups
    flags = _winograd.CHOSEN.get() if winograd is None else _winograd.flags(winograd)
    flags += _padding.flags(padding_mode)
    reason = _left_to_aten(input, weight, bias, *options)
    if reason is not None and reason != _config.ON_CUDA:
        return f"aten: {reason}"
    input, weight, _, geometry = functional.resolved(input, weight, bias, *options)
    dtype = str(input.dtype).removeprefix("torch.")
    explain_op, reasons = torch.ops.torchconv._explain, (None, None, None)
    if reason != _config.ON_CUDA:
        geometry = (*geometry[:-1], geometry[-1] | flags)
    else:
        explain_op = torch.ops.torchconv._explain_cuda
        geometry, reasons = _cuda.choice(input, weight, geometry, _config.get_backend())
    lines = []
    for op, left_to_aten in zip(_cuda.OPERATORS, reasons, strict=True):
        if input.shape[0] == 0:
            text = "nothing to compute in a batch of no images"
        elif left_to_aten is None:
            text = explain_op(op, input.shape, weight.shape, geometry, dtype)
        else:
            text = f"aten: {left_to_aten}"
        lines.append(f"{op}: {text}")
    return "\n".join(lines)


def forward_algorithm(*arguments: Any, **modes: Any) -> str:
    """The name of the algorithm that computes a convolution; ``"aten"`` where it is PyTorch's."""
    forward = explain(*arguments, **modes).partition("\ngrad_input: ")[0]
    return forward.splitlines()[-1].removeprefix("forward: ").partition(":")[0]


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
    if _load.problem is not None:
        return f"none, {_load.problem}; ATen computes everything"
    ops = torch.ops.torchconv
    return f"instruction set {ops._isa()}, compiled by {ops._compiler()}"


def _cuda_kernels() -> str:
    if _load.cuda_problem is not None:
        return f"none, {_load.cuda_problem}"
    names = [line.split()[0] for line in torch.ops.torchconv._algorithms_cuda().splitlines()]
    found = ", ".join(sorted(_cuda.accepted().capabilities)) or "none"
    toolkit = torch.ops.torchconv._toolkit_cuda()
    return f"{' '.join(names)} (CUDA {toolkit}); 'auto' runs some on compute capability: {found}"

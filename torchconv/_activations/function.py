"""``conv2d_activation``, a convolution that ends with a residual addition and an activation."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch._C import _get_tracing_state, _is_any_autocast_enabled
from torch.compiler import is_dynamo_compiling
from torch.overrides import handle_torch_function, has_torch_function_variadic

from torchconv import _padding, _winograd, functional
from torchconv._activations.names import NAMES, activated
from torchconv._config import is_like_the_cpus, reason_for_aten
from torchconv._integrations.overrides import class_with_functions
from torchconv._kept_weights import KeptWeights
from torchconv._operators import autograd_activation, load
from torchconv._operators.results import output_size
from torchconv._winograd import Winograd
from torchconv.functional import Ints, PaddingMode

Activation = Literal["relu", "relu6", "silu", "hardswish", "gelu", "sigmoid", "leaky_relu"]

_NUMBERS = {name: number for number, name in enumerate(NAMES) if number} | {None: 0}


def conv2d_activation(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    padding_mode: PaddingMode = "zeros",
    activation: Activation | None = "relu",
    slope: float = 0.01,
    residual: Tensor | None = None,
    winograd: Winograd | None = None,
) -> Tensor:
    r"""Returns ``activation(conv2d(input, weight, bias, ...) + residual)`` in one pass.

    Results are activated as soon as they are stored, while they are in the cache. In half types the
    sum with the residual is rounded once, together with the activation. The result has the same
    bits whatever the batch, the number of threads and the instruction set, and whoever computes
    the convolution.

    Args:
        input: as of :func:`torchconv.conv2d`, and so are ``weight``, ``bias``, ``stride``,
            ``padding``, ``dilation``, ``groups``, ``padding_mode`` and ``winograd``.
        activation: one of ``'relu'``, ``'relu6'``, ``'silu'``, ``'hardswish'``, ``'gelu'`` (the
            exact one, of the error function), ``'sigmoid'`` and ``'leaky_relu'``; None for none.
        slope: of ``'leaky_relu'`` for negative sums.
        residual: added before the activation; same shape and dtype as the result.

    Returns:
        ``(n, k, p, q)`` or ``(k, p, q)``, as :func:`torchconv.conv2d`.

    Raises:
        RuntimeError: shapes, dtypes or values do not fit together.
        TypeError: an argument has a wrong type.
        ValueError: there is no such activation, or no such mode of padding or Winograd's.

    Example:
        >>> import torch
        >>> image, weight = torch.randn(1, 8, 6, 6), torch.randn(8, 8, 3, 3)
        >>> result = conv2d_activation(image, weight, padding=1, residual=image)
        >>> result.shape, result.min().item() >= 0
        (torch.Size([1, 8, 6, 6]), True)
    """
    return conv2d_activation_kept(
        input, weight, bias, (stride, padding, dilation, groups), activation, slope, residual,
        winograd, None, padding_mode,
    )  # fmt: skip


def conv2d_activation_kept(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    options: tuple[Ints, Ints | str, Ints, int],
    activation: Any,
    slope: float,
    residual: Tensor | None,
    winograd: Any,
    kept: KeptWeights | None,
    padding_mode: Any = "zeros",
) -> Tensor:
    """The same with ``(stride, padding, dilation, groups)`` and, maybe, a weight kept packed."""
    number = activation_number(activation)
    if residual is not None and not isinstance(residual, Tensor):
        kind = type(residual).__name__
        raise TypeError(f"conv2d_activation(): residual must be a Tensor, but got {kind}")
    if isinstance(input, Tensor) and input.dim() == 3:
        residual = None if residual is None else residual.unsqueeze(0)
        batch = conv2d_activation_kept(
            input.unsqueeze(0), weight, bias, options, activation, slope, residual, winograd, kept,
            padding_mode,
        )  # fmt: skip
        return batch.squeeze(0)
    tensors = [tensor for tensor in (input, weight, bias, residual) if tensor is not None]
    overridden = has_torch_function_variadic(*tensors)
    if overridden and class_with_functions(tensors) is None:
        return handle_torch_function(
            conv2d_activation, tensors, input, weight, bias, *options, activation=activation,
            slope=slope, residual=residual, winograd=winograd, padding_mode=padding_mode,
        )  # fmt: skip
    if (
        overridden
        or reason_for_aten(input, weight, bias) is not None
        or not (residual is None or is_like_the_cpus(residual))
    ):
        sums = functional.conv2d(
            input, weight, bias, *options, padding_mode=padding_mode, winograd=winograd
        )
        return _in_steps(sums, residual, number, slope)
    if _is_any_autocast_enabled() and torch.is_autocast_enabled("cpu"):
        input, weight, bias, geometry = functional.resolved(input, weight, bias, *options)
        kept = None
        if residual is not None and residual.dtype is not input.dtype:  # which ATen promotes
            sums = functional.conv2d(
                input, weight, bias, *options, padding_mode=padding_mode, winograd=winograd
            )
            return _in_steps(sums + residual, None, number, slope)
    if is_dynamo_compiling():
        from torchconv._integrations import dynamo  # noqa: F401  (tells Dynamo about autograd_activation)
    flags = _winograd.CHOSEN.get() if winograd is None else _winograd.flags(winograd)
    if padding_mode != "zeros":
        flags += _padding.flags(padding_mode, "conv2d_activation")
    if type(options[1]) is str and _padding.depends_on_unknown_size(input, options[1], options[0]):
        stride, padding, dilation, groups = options
        input = _padding.padded(input, weight, stride, padding, dilation, padding_mode)
        options, flags = (stride, 0, dilation, groups), flags % _padding.FLAG
    call = known = None
    if kept is not None and not is_dynamo_compiling():
        threads = torch.get_num_threads()
        call = (input.shape, input.stride(), input.dtype, options, flags, threads)
        known = kept.known(call)
    if known is None:
        geometry = functional.resolve(input, weight, bias, *options, flags)
        packed = None
        if kept is not None and call is not None:
            packed = kept.pack(weight, call, geometry)
    else:
        geometry, packed = known
    if residual is not None:
        _check_residual(residual, output_size(input.shape, weight.shape, geometry), input.dtype)
    return autograd_activation.conv2d_activation(
        input, weight, bias, residual, geometry, number, slope, packed
    )


def activation_number(activation: str | None) -> int:
    """The number that the operators take for its name."""
    number = _NUMBERS.get(activation)
    if number is None:
        names = (*NAMES[1:], None)
        raise ValueError(f"activation must be one of {names}, got {activation!r}")
    return number


def apply_activation(x: Tensor, activation: str | None, slope: float) -> Tensor:
    """What ``conv2d_activation`` makes of its sums, with the same bits."""
    return _in_steps(x, None, activation_number(activation), slope)


def _in_steps(sums: Tensor, residual: Tensor | None, number: int, slope: float) -> Tensor:
    """activation(sums + residual) of sums that somebody else has computed."""
    if residual is not None:
        _check_residual(residual, sums.shape, sums.dtype)
    if number == 0 and residual is None:
        return sums
    if (
        is_like_the_cpus(sums)
        and (residual is None or is_like_the_cpus(residual))
        and _get_tracing_state() is None
        and load.problem is None
    ):
        return autograd_activation.activate(sums, residual, number, slope)
    return activated(sums, residual, number, slope)


def _check_residual(residual: Tensor, size: Sequence[int], dtype: torch.dtype) -> None:
    """Refuses one that would be broadcast, or change the dtype."""
    if residual.dtype is dtype and tuple(residual.shape) == tuple(size):
        return
    raise RuntimeError(
        f"conv2d_activation(): residual must have the shape and dtype of the result, "
        f"{tuple(size)} and {dtype}, but got {tuple(residual.shape)} and {residual.dtype}"
    )

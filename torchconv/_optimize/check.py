"""Compares what two models make of the same arguments."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

# The largest difference, relative to the largest value of an output.
# In bfloat16 the results of deep networks with random weights differ by 0.16, PyTorch's too.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 0.3}


def run(model: nn.Module, arguments: tuple[Any, ...]) -> Any:
    """What a model returns for copies of the arguments, without a change of random state."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    copied = pytree.tree_map(lambda each: each.clone() if _is_tensor(each) else each, arguments)
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        return model(*copied)


def refuse_difference(expected: Any, actual: Any) -> None:
    """Compares outputs; those that are no numbers are not compared.

    Raises:
        RuntimeError: they differ by more than rounding.
    """
    all_expected, all_actual = _leaves(expected), _leaves(actual)
    if len(all_expected) != len(all_actual):
        raise RuntimeError(
            f"optimize(): the optimised model returns {len(all_actual)} values, the original "
            f"{len(all_expected)}"
        )
    for place, (one, other) in enumerate(zip(all_expected, all_actual, strict=True)):
        if not _is_tensor(one) or not _is_tensor(other):
            continue
        if one.shape != other.shape:
            raise RuntimeError(
                f"optimize(): output {place} of the optimised model has shape "
                f"{list(other.shape)}, that of the original {list(one.shape)}"
            )
        difference = _difference(one, other)
        if not difference <= _tolerance(one, other):
            raise RuntimeError(
                f"optimize(): output {place} of the optimised model differs from the original by "
                f"{difference:.2g} of its largest value, more than {_tolerance(one, other):g}"
            )


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _leaves(value: Any) -> list[Any]:
    leaves, _ = pytree.tree_flatten(value)
    found: list[Any] = []
    for leaf in leaves:
        if dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
            fields = [getattr(leaf, each.name) for each in dataclasses.fields(leaf)]
            found += _leaves(fields)
        else:
            found.append(leaf)
    return found


def _tolerance(one: Tensor, other: Tensor) -> float:
    both = one.dtype, other.dtype
    return max(TOLERANCE.get(dtype, 0.0) for dtype in both)


def _difference(one: Tensor, other: Tensor) -> float:
    """The largest difference over the largest finite value; the same NaN or infinity is none."""
    wide = torch.complex128 if one.is_complex() else torch.float64
    one, other = one.detach().cpu().to(wide), other.detach().cpu().to(wide)
    unequal = (one != other) & ~(one.isnan() & other.isnan())
    if not unequal.any():
        return 0.0
    finite = one[one.isfinite()].abs()
    largest = finite.max().item() if finite.numel() else 0.0
    difference = (one - other)[unequal].abs().max().item()
    return difference / largest if largest > 0 else float("inf")


def observed(
    model: nn.Module, kind: type[nn.Module], see: Callable[[nn.Module, Any], None]
) -> list[Any]:
    """Handles of hooks that show each output of each module of a class; call ``remove`` on them."""

    def hook(module: nn.Module, _: Any, output: Any) -> None:
        see(module, output)

    layers = [module for module in model.modules() if isinstance(module, kind)]
    return [layer.register_forward_hook(hook) for layer in layers]

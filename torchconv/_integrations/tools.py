"""What tools are told: those that would silently count too few operations, Opacus and Inductor.

They look layers up by exact type, or operators by name. Other tools that know ``nn.Conv2d`` alone
say so or leave a layer as it is; ``torchconv.convert`` makes layers that they know.
"""

import warnings
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch._decomp import decomposition_table
from torch._library.utils import get_layout_constraint_tag

from torchconv._integrations.imports import when_imported
from torchconv._relatives.modules import Conv1d, ConvTranspose1d, ConvTranspose2d
from torchconv._samples import opacus
from torchconv.modules import Conv2d

_NAMESAKES = {
    Conv1d: nn.Conv1d,
    Conv2d: nn.Conv2d,
    ConvTranspose1d: nn.ConvTranspose1d,
    ConvTranspose2d: nn.ConvTranspose2d,
}


def register() -> None:
    """Tells each tool that is imported, now or later."""
    for module, tell in _TOOLS.items():
        when_imported(module, _or_warn(tell))


def _thop(profile: ModuleType) -> None:
    _tell_of_namesakes(profile.register_hooks)


def _by_type(ops: ModuleType) -> None:
    _tell_of_namesakes(ops.MODULES_MAPPING)


def _tell_of_namesakes(counts: dict[type[nn.Module], Any]) -> None:
    counts.update({ours: counts[theirs] for ours, theirs in _NAMESAKES.items()})


def _ptflops_operators(ops: ModuleType) -> None:
    count = ops.conv_flop_count

    def conv2d(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> int:
        input, weight, bias, *_ = inputs
        return count(input.shape, weight.shape, outputs[0].shape, bias=bias is not None)

    def transposed(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> int:
        input, weight, *_ = inputs
        return count(input.shape, weight.shape, outputs[0].shape, transposed=True)

    ops.ATEN_OPS_MAPPING[torch.ops.torchconv.conv2d] = conv2d
    ops.ATEN_OPS_MAPPING[torch.ops.torchconv.conv2d_grad_input] = transposed


def _inductor(lowering: ModuleType) -> None:
    """Operators run as they are, although they have decompositions (for ONNX).

    Inductor does so unasked, but raises where the variable ``CI`` is set: it takes that for
    PyTorch's own continuous integration, where an operator must not have both.
    """
    for operator in decomposition_table:
        if getattr(operator, "namespace", None) == "torchconv":
            strides = lowering.tag_to_layout_constraint(get_layout_constraint_tag(operator))
            lowering.make_fallback(operator, layout_constraint=strides, warn=False)


_TOOLS: dict[str, Callable[[ModuleType], None]] = {
    "thop.profile": _thop,
    "ptflops.pytorch_ops": _by_type,
    "ptflops.aten_ops": _ptflops_operators,
    "torch_pruning.utils.op_counter": _by_type,
    "opacus.grad_sample": opacus.register,
    "torch._inductor.lowering": _inductor,
}


def _or_warn(tell: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    """A version of a tool that is built otherwise can still be imported."""

    def attempt(module: ModuleType) -> None:
        try:
            tell(module)
        except (AttributeError, KeyError, TypeError) as error:
            warnings.warn(
                f"{module.__name__} has changed: it may not know layers of torchconv ({error!r})",
                stacklevel=2,
            )

    return attempt

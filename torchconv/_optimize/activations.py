"""Recognises activations that a convolution can compute itself, as modules, functions, methods."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.fx import Node

from torchconv._activations.function import Activation
from torchconv._optimize.modules import why_not_itself


class Fusible(NamedTuple):
    name: Activation
    slope: float = 0.01


_MODULES: dict[type[nn.Module], Activation] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.SiLU: "silu",
    nn.Hardswish: "hardswish",
    nn.Sigmoid: "sigmoid",
}
# Functions of one tensor, some with an argument ``inplace``.
_FUNCTIONS: dict[Any, Activation] = {
    torch.relu: "relu",
    torch.relu_: "relu",
    F.relu: "relu",
    F.relu_: "relu",
    F.relu6: "relu6",
    F.silu: "silu",
    F.hardswish: "hardswish",
    torch.sigmoid: "sigmoid",
    torch.sigmoid_: "sigmoid",
    torch.special.expit: "sigmoid",
    F.sigmoid: "sigmoid",
}
_METHODS: dict[Any, Activation] = {
    "relu": "relu",
    "relu_": "relu",
    "sigmoid": "sigmoid",
    "sigmoid_": "sigmoid",
}


def of_module(module: nn.Module) -> Fusible | None:
    """The activation that a module is, if a convolution has it."""
    if why_not_itself(module) is not None:
        return None
    kind = type(module)
    if kind in _MODULES:
        return Fusible(_MODULES[kind])
    if kind is nn.LeakyReLU:
        return Fusible("leaky_relu", module.negative_slope)  # type: ignore[arg-type]
    if kind is nn.GELU and module.approximate == "none":
        return Fusible("gelu")
    if kind is nn.Hardtanh and (module.min_val, module.max_val) == (0, 6):
        return Fusible("relu6")
    return None


def of_node(node: Node) -> Fusible | None:
    """The activation that a node computes of its first argument, if a convolution has it."""
    module = node.meta.get("module")
    if node.op == "call_module":
        alone = len(node.args) == 1 and not node.kwargs
        return of_module(module) if alone and module is not None else None
    arguments = dict(node.kwargs)
    arguments.pop("inplace", None)
    rest = node.args[1:]
    if node.op == "call_method":
        return Fusible(_METHODS[node.target]) if node.target in _METHODS and not rest else None
    if node.op != "call_function" or not node.args:
        return None
    if node.target in _FUNCTIONS:
        known = not arguments and all(isinstance(value, bool) for value in rest)
        return Fusible(_FUNCTIONS[node.target]) if known else None
    if node.target in (F.leaky_relu, F.leaky_relu_):
        slope = arguments.pop("negative_slope", rest[0] if rest else 0.01)
        if arguments or not isinstance(slope, (int, float)):
            return None
        return Fusible("leaky_relu", float(slope))
    if node.target is F.gelu:
        approximate = arguments.pop("approximate", rest[0] if rest else "none")
        return Fusible("gelu") if approximate == "none" and not arguments else None
    if node.target in (F.hardtanh, F.hardtanh_):
        low = arguments.pop("min_val", rest[0] if rest else -1.0)
        high = arguments.pop("max_val", rest[1] if len(rest) > 1 else 1.0)
        return Fusible("relu6") if (low, high) == (0, 6) and not arguments else None
    return None

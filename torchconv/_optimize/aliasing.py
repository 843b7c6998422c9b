"""Whether a value may change between two places of a graph, because something is done in place."""

import math
import operator

import torch
from torch import nn
from torch.fx import Node

from torchconv._optimize.modules import class_name, does_nothing, why_not_itself
from torchconv._optimize.proxies import IN_PLACE

_OUTSIDE = "outside"  # the memory of arguments and parameters, which may be views of each other

_NEW_MEMORY = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.Linear,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
)
_KNOWN_MODULES = ("torch.nn.modules.", "torchconv.", "torchvision.ops.misc.", "timm.layers.")
_KNOWN_FUNCTIONS = ("torch", "math", "operator", "_operator", "builtins", "torchconv")


def may_change(value: Node, after: Node, before: Node) -> bool:
    """Whether anything from node ``after`` to node ``before``, neither included, may write to the
    memory of a value."""
    memory: dict[Node, frozenset[object]] = {}
    inside = False
    for node in value.graph.nodes:
        if node is before:
            return False
        _find_memory(node, memory)
        if inside:
            written = _written(node)
            if written is None or any(memory[each] & memory[value] for each in written):
                return True
        inside = inside or node is after
    return True


def _find_memory(node: Node, memory: dict[Node, frozenset[object]]) -> None:
    """Which memory a node's result may be in: its own, or that of any of its arguments."""
    if node.op in ("placeholder", "get_attr"):
        memory[node] = frozenset({_OUTSIDE})
        return
    own = frozenset({node})
    module = node.meta.get("module")
    if isinstance(module, _NEW_MEMORY) and why_not_itself(module) is None:
        memory[node] = own
    else:
        memory[node] = own.union(*(memory[each] for each in node.all_input_nodes))


def _written(node: Node) -> list[Node] | None:
    """The values that a node writes to; None if it may write to any."""
    inputs = node.all_input_nodes
    if node.op == "call_module":
        module = node.meta.get("module")
        if module is None or why_not_itself(module) is not None:
            return None
        if does_nothing(module):
            return []
        if not class_name(module).startswith(_KNOWN_MODULES):
            return None
        in_place = any(getattr(each, "inplace", False) for each in module.modules())
        return inputs if in_place else []
    if node.op == "call_method":
        return inputs if str(node.target).endswith("_") else []
    if node.op == "call_function":
        if not _is_known(node.target):
            return None
        name = getattr(node.target, "__name__", "")
        in_place = (
            name.endswith("_")
            or (node.target in _IN_PLACE_OPERATORS)
            or "out" in node.kwargs
            or node.kwargs.get("inplace")
            or any(argument is True for argument in node.args)
        )
        return inputs if in_place else []
    return []


_IN_PLACE_OPERATORS = frozenset({operator.setitem, operator.delitem, setattr}).union(
    getattr(operator, name) for name in IN_PLACE
)


def _is_known(function: object) -> bool:
    home = getattr(function, "__module__", None)
    if home is None:  # built in, as torch.relu is
        name = getattr(function, "__name__", "")
        return any(
            getattr(space, name, None) is function
            for space in (torch, torch.Tensor, math, operator)
        )
    return home.partition(".")[0] in _KNOWN_FUNCTIONS

"""Recognises the nodes of a graph that a program can compute."""

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.fx import Node

from torchconv._activations.layer import ConvActivation2d
from torchconv._optimize.linear import PackedLinear
from torchconv._optimize.modules import why_not_itself
from torchconv._optimize.patterns import passes_through
from torchconv._optimize.residual import ResidualConv2d

_PRODUCTS = (operator.mul, torch.mul, "mul")
_MEANS = (torch.mean, "mean")
_FLATTENS = (torch.flatten, "flatten")


def layer_operands(node: Node) -> tuple[Node, ...] | None:
    """Input and residual of a layer that keeps its weight packed."""
    layer: Any = node.meta.get("module")
    if type(layer) not in (ConvActivation2d, ResidualConv2d) or node.op != "call_module":
        return None
    operands = _nodes(node.args)
    if operands is None or node.kwargs or not 1 <= len(operands) <= 2:
        return None
    if type(layer) is ResidualConv2d and len(operands) != 2:
        return None
    plain = layer._kept is not None and layer.padding_mode == "zeros"
    return operands if plain and why_not_itself(layer) is None else None


def flattened_mean(node: Node) -> Node | None:
    """The mean over pixels, (n, c, 1, 1), of which a node makes (n, c) for linear layers."""
    if not node.users or not all(map(_is_linear, users(node))):
        return None
    named = dict(zip(("input", "start_dim", "end_dim"), node.args, strict=False)) | node.kwargs
    source = named.pop("input", None)
    if not isinstance(source, Node):
        return None
    module: Any = node.meta.get("module")
    if node.op == "call_module":
        found = (
            type(module) is nn.Flatten
            and why_not_itself(module) is None
            and not named
            and (module.start_dim, module.end_dim) == (1, -1)
        )
    else:
        found = node.target in _FLATTENS and named == {"start_dim": 1}
    return source if found and _comes_from_a_mean(source) else None


def users(node: Node) -> list[Node]:
    """What uses a value in the end, where others between return it as it is."""
    found: list[Node] = []
    for user in node.users:
        found += users(user) if passes_through(user) else [user]
    return found


def _is_linear(node: Node) -> bool:
    layer: Any = node.meta.get("module")
    return (
        node.op == "call_module"
        and type(layer) is PackedLinear
        and len(node.args) == 1
        and not node.kwargs
        and why_not_itself(layer) is None
    )


def linear_operand(node: Node) -> Node | None:
    """The flattened mean, or the result of another such layer, that a linear layer reads."""
    if not _is_linear(node):
        return None
    (source,) = node.all_input_nodes
    while passes_through(source):
        (source,) = source.all_input_nodes
    known = flattened_mean(source) is not None or linear_operand(source) is not None
    return source if known else None


def mean_operands(node: Node) -> tuple[Node, ...] | None:
    """The images of which a node computes the mean over all pixels, with shape (n, c, 1, 1)."""
    module: Any = node.meta.get("module")
    given = [*node.args, *node.kwargs.values()]
    names = [None] * len(node.args) + list(node.kwargs)
    if not given or not isinstance(given[0], Node) or names[0] not in (None, "input"):
        return None
    found = False
    if node.op == "call_module":
        found = (
            type(module) is nn.AdaptiveAvgPool2d
            and why_not_itself(module) is None
            and len(given) == 1
            and _is_one(module.output_size)
        )
    elif node.target is F.adaptive_avg_pool2d:
        found = len(given) == 2 and names[1] in (None, "output_size") and _is_one(given[1])
    elif node.target in _MEANS:
        found = (
            len(given) == 3
            and names[1] in (None, "dim")
            and names[2] in (None, "keepdim")
            and _is_of_pixels(given[1])
            and given[2] is True
        )
    return (given[0],) if found else None


def product_operands(node: Node) -> tuple[Node, ...] | None:
    """Images and the factors of their channels, which come from a mean."""
    if node.op not in ("call_function", "call_method") or node.target not in _PRODUCTS:
        return None
    operands = _nodes(node.args)
    if operands is None or node.kwargs or len(operands) != 2:
        return None
    if _comes_from_a_mean(operands[1]):
        return operands
    return operands[::-1] if _comes_from_a_mean(operands[0]) else None


def _nodes(arguments: Any) -> tuple[Node, ...] | None:
    found = tuple(each for each in arguments if isinstance(each, Node))
    return found if len(found) == len(arguments) else None


def _is_one(size: Any) -> bool:
    return size == 1 or (isinstance(size, (tuple, list)) and tuple(size) == (1, 1))


def _is_of_pixels(dimensions: Any) -> bool:
    return (
        isinstance(dimensions, (tuple, list))
        and all(type(each) is int for each in dimensions)
        and sorted(each % 4 for each in dimensions) == [2, 3]
    )


def _comes_from_a_mean(node: Node) -> bool:
    """Whether a value is a mean over pixels, or what layers made of one."""
    while mean_operands(node) is None:
        operands = layer_operands(node)
        if passes_through(node):
            (node,) = node.all_input_nodes
        elif operands is not None and len(operands) == 1:
            (node,) = operands
        else:
            return False
    return True

"""Finds what can become one convolution: padding, convolution, BatchNorm, addition, activation.

A chain is a convolution and what happens to its result until more than one place uses it.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.fx import Node

from torchconv._optimize import activations
from torchconv._optimize.aliasing import may_change
from torchconv._optimize.fold import (
    activation_inside,
    added_padding,
    is_norm,
    why_not_folded,
    zero_padding,
)
from torchconv._optimize.modules import (
    does_nothing,
    why_not_fused,
    why_not_itself,
)
from torchconv._optimize.scope import Scope

Tell = Callable[[nn.Module, str], None]

_ADDITIONS = (operator.add, operator.iadd, torch.add, "add", "add_")
_IN_PLACE_ADDITIONS = (operator.iadd, "add_")


@dataclass
class Chain:
    """A convolution and the nodes that it can take over."""

    conv: Node
    input: Node  # of the padding, if there is one
    layer_padding: Any  # with that of ``padding``
    padding: Node | None = None
    norms: list[Node] = field(default_factory=list)
    addition: Node | None = None
    activation: Node | None = None  # the last norm where that has the activation inside
    fused: activations.Fusible | None = None
    nodes: list[Node] = field(default_factory=list)  # after the convolution, up to the last

    @property
    def layer(self) -> Any:
        return self.conv.meta["module"]

    @property
    def adds_in_place(self) -> bool:
        return self.addition is not None and self.addition.target in _IN_PLACE_ADDITIONS

    @property
    def value_before_addition(self) -> Node:
        nodes = [self.conv, *self.nodes]
        return nodes[nodes.index(self.addition) - 1]  # type: ignore[arg-type]


def find_chains(scope: Scope, tell: Tell) -> list[Chain]:
    """All chains with something to take over; ``tell`` learns why others have not.

    The convolution that runs last gets an addition that two could take: nothing has to move then.
    """
    found, taken = [], set()
    for node in reversed(scope.graph.nodes):
        if isinstance(node.meta.get("module"), nn.Conv2d):
            chain = _Search(scope, node, tell, taken).chain()
            if chain is not None:
                found.append(chain)
                taken.update({chain.addition} - {None})
    return found[::-1]


class _Search:
    """The chain of one convolution."""

    def __init__(self, scope: Scope, conv: Node, tell: Tell, taken: set[Node]) -> None:
        self._scope, self._conv, self._taken = scope, conv, taken
        self._layer: Any = conv.meta["module"]
        self._tell = lambda reason: tell(self._layer, reason)

    def chain(self) -> Chain | None:
        inputs = (*self._conv.args, *self._conv.kwargs.values())
        if len(inputs) != 1 or not isinstance(inputs[0], Node):
            return None
        if isinstance(getattr(self._layer, "activation", None), str):
            return None
        chain = Chain(self._conv, inputs[0], self._layer.padding)
        self._take_padding(chain)
        self._follow(chain)
        if chain.padding is None and not chain.nodes:
            return None
        problem = why_not_fused(self._layer) or self._scope.why_shared(self._layer)
        if problem is not None:
            self._tell(problem)
            return None
        return chain

    def _take_padding(self, chain: Chain) -> None:
        node = chain.input
        extra = zero_padding(node)
        source = (*node.args, *node.kwargs.values())[0] if extra is not None else None
        if extra is None or len(node.users) > 1 or not isinstance(source, Node):
            return
        together = added_padding(self._layer, extra)
        if together is None or may_change(source, node, chain.conv):
            return
        if node.op == "call_module" and self._scope.why_shared(node.meta["module"]) is not None:
            return
        chain.padding, chain.input, chain.layer_padding = node, source, together

    def _follow(self, chain: Chain) -> None:
        """Takes over nodes until there is one that it cannot."""
        passed: list[Node] = []  # they do nothing, and are taken over with what follows them
        node = chain.conv
        while chain.fused is None:
            if len(node.users) != 1:
                if len(node.users) > 1 and any(self._is_of_use(each) for each in node.users):
                    self._tell(f"its result is used in {len(node.users)} places")
                return
            (following,) = node.users
            passed.append(following)
            if not passes_through(following):
                if not self._take(chain, node, following):
                    return
                chain.nodes += passed
                passed.clear()
                if _keeps_activation(following):
                    return
            node = following

    def _is_of_use(self, node: Node) -> bool:
        return is_norm(node.meta.get("module")) or activations.of_node(node) is not None

    def _take(self, chain: Chain, value: Node, node: Node) -> bool:
        """Whether a node that uses ``value``, the chain's result so far, becomes part of it."""
        module = node.meta.get("module")
        if node.op == "call_module" and is_norm(module):
            return chain.addition is None and self._take_norm(chain, node, module)
        fused = activations.of_node(node)
        if fused is None and not _is_addition(node):
            if module is not None and _is_activation(module) and why_not_itself(module):
                self._tell(f"its activation: {why_not_itself(module)}")
            return False
        if fused is not None:
            chain.activation, chain.fused = node, fused
            return True
        return chain.addition is None and self._take_addition(chain, value, node)

    def _take_norm(self, chain: Chain, node: Node, norm: Any) -> bool:
        problem = why_not_folded(norm, self._layer.out_channels)
        problem = problem or _prefixed("its BatchNorm: ", self._scope.why_shared(norm))
        if problem is not None:
            self._tell(problem)
            return False
        chain.norms.append(node)
        inside = activation_inside(norm)
        fused = None if inside is None else activations.of_module(inside)
        if fused is not None:
            chain.activation, chain.fused = node, fused
        return True

    def _take_addition(self, chain: Chain, value: Node, node: Node) -> bool:
        if other_operand(node, value) is None or node in self._taken:
            return False
        if node.target in _IN_PLACE_ADDITIONS and node.args[0] is not value:
            return False  # others may see the sum in the memory of the residual
        if may_change(chain.input, chain.padding or chain.conv, node):
            self._tell("its input may change before its result is added")
            return False
        chain.addition = node
        return True


def _is_addition(node: Node) -> bool:
    return node.op in ("call_function", "call_method") and node.target in _ADDITIONS


def other_operand(node: Node, value: Node) -> Node | None:
    """What ``value`` is added to, unless that is itself, a number, or weighted."""
    named = [node.kwargs[name] for name in ("input", "other") if name in node.kwargs]
    operands = [*node.args, *named]
    if len(operands) != 2 or len(operands) != len(node.args) + len(node.kwargs):
        return None
    others = [each for each in operands if each is not value]
    return others[0] if len(others) == 1 and isinstance(others[0], Node) else None


def passes_through(node: Node) -> bool:
    """Whether a node returns its first argument, in eval mode."""
    if node.op == "call_module":
        module: Any = node.meta.get("module")
        return does_nothing(module) and len(node.args) == 1 and not node.kwargs
    return node.target is F.dropout and node.kwargs.get("training") is False


def _keeps_activation(node: Node) -> bool:
    """Whether a norm was folded whose activation remains to be computed."""
    module = node.meta.get("module")
    return module is not None and is_norm(module) and activation_inside(module) is not None


def _is_activation(module: nn.Module) -> bool:
    return type(module).__module__ == "torch.nn.modules.activation"


def _prefixed(prefix: str, text: str | None) -> str | None:
    return None if text is None else prefix + text

"""Makes one convolution of each chain.

Where all parts of the chains are modules, these change and the code that calls them stays: the
convolution takes over, the others become ``nn.Identity``. Otherwise the graph becomes the code.
"""

from typing import Any

import torch
from torch import nn
from torch.fx import Graph, Node

from torchconv._activations.layer import ConvActivation2d
from torchconv._optimize.fold import activation_inside, folded
from torchconv._optimize.graph_module import replace_code
from torchconv._optimize.like import like
from torchconv._optimize.modules import reachable
from torchconv._optimize.patterns import Chain, other_operand
from torchconv._optimize.proxies import Untraceable
from torchconv._optimize.residual import ResidualConv2d
from torchconv._optimize.scope import Scope
from torchconv._optimize.state import Snapshot, become
from torchconv._optimize.trace import trace
from torchconv._report import note, noted


def apply(
    scope: Scope, chains: list[Chain], dtype: torch.dtype | None, leaves: set[type]
) -> str | None:
    """Changes the modules and, if need be, the code of a scope; returns why it could not, or None.

    Either everything is changed or nothing.
    """
    before = Snapshot(scope.module.modules())
    whole_activations = _only_in_chains(scope, chains)
    needs_graph = bool(chains_in_code(scope, chains))
    try:
        for chain in chains:
            _change_modules(chain, dtype)
        for module in whole_activations:
            become(module, nn.Identity().eval())
        if needs_graph:
            inlined = _without_their_code(scope, chains)
            replace_code(scope.module, _rewritten(scope.graph, chains))
            for module in inlined:
                module.__class__ = nn.Module
        elif str(trace(scope.module, leaves)) != str(scope.graph):
            raise Untraceable("its forward depends on the classes of its layers")
    except Exception as error:  # from whatever is odd about a user's module
        before.restore()
        return f"it could not be changed: {error}"
    return None


def chains_in_code(scope: Scope, chains: list[Chain]) -> list[Chain]:
    """The chains with parts that are no modules, so that code has to change."""
    whole_activations = _only_in_chains(scope, chains)
    return [chain for chain in chains if _needs_graph(chain, whole_activations)]


def _only_in_chains(scope: Scope, chains: list[Chain]) -> list[nn.Module]:
    """The activation modules all of whose calls convolutions take over."""
    nodes = [
        chain.activation
        for chain in chains
        if chain.activation is not None
        and chain.activation not in chain.norms
        and chain.activation.op == "call_module"
    ]
    modules = {node.meta["module"] for node in nodes}
    return [module for module in modules if scope.all_calls_are(module, nodes)]


def _needs_graph(chain: Chain, whole_activations: list[nn.Module]) -> bool:
    if chain.addition is not None or (
        chain.padding is not None and chain.padding.op != "call_module"
    ):
        return True
    activation = chain.activation
    return (
        activation is not None
        and activation not in chain.norms
        and activation.meta.get("module") not in whole_activations
    )


def _change_modules(chain: Chain, dtype: torch.dtype | None) -> None:
    layer = chain.layer
    done = []
    weight, bias = layer.weight, layer.bias
    if chain.norms:
        norms = [node.meta["module"] for node in chain.norms]
        weight, bias = folded(layer, norms, dtype)
        done.append("BatchNorm")
        for norm in norms:
            become(norm, _what_remains(chain, norm))
    if chain.padding is not None:
        done.append("padding")
        if chain.padding.op == "call_module":
            become(chain.padding.meta["module"], nn.Identity().eval())
    if chain.addition is not None or chain.fused is not None:
        become(layer, _with_activation(chain))
    elif chain.padding is not None:
        layer.padding = chain.layer_padding  # its other attribute, for modes but zeros, is not used
    layer.weight, layer.bias = weight, bias
    if chain.addition is not None:
        done.append("residual")
    if chain.fused is not None:
        done.append(chain.fused.name)
    note(layer, done=(*noted(layer).done, *done))


def _what_remains(chain: Chain, norm: nn.Module) -> nn.Module:
    inside = activation_inside(norm)
    taken = chain.activation is not None and chain.activation.meta.get("module") is norm
    return nn.Identity().eval() if inside is None or taken else inside


def _with_activation(chain: Chain) -> ConvActivation2d:
    """The layer that computes the whole chain, without weights."""
    options: dict[str, Any] = {"activation": None if chain.fused is None else chain.fused.name}
    if chain.fused is not None:
        options["slope"] = chain.fused.slope
    if chain.addition is None:
        return like(chain.layer, ConvActivation2d, chain.layer_padding, **options)
    options["in_place"] = chain.adds_in_place
    return like(chain.layer, ResidualConv2d, chain.layer_padding, **options)


def _without_their_code(scope: Scope, chains: list[Chain]) -> set[nn.Module]:
    """The modules inside whose own code would, if called alone, repeat what was fused."""
    found = set()
    for chain in chains:
        nodes = [*chain.nodes, *([] if chain.padding is None else [chain.padding])]
        owners = {node.meta["owners"][-1] for node in nodes if node.op != "call_module"}
        found |= {owner for owner in owners if chain.layer in reachable(owner)}
    return found - {scope.module}


def _rewritten(graph: Graph, chains: list[Chain]) -> Graph:
    """A graph in which each chain is one call."""
    for chain in chains:
        conv = chain.conv
        value = chain.padding if chain.padding is not None else conv
        (input,) = (*value.args, *value.kwargs.values())[:1]
        if chain.addition is not None:
            residual = other_operand(chain.addition, chain.value_before_addition)
            with graph.inserting_before(chain.addition):
                call = graph.call_module(str(conv.target), (input, residual))
        else:
            with graph.inserting_before(conv):
                call = graph.call_module(str(conv.target), (input,))
        stays = chain.norms and chain.nodes[-1] is chain.norms[-1] and chain.fused is None
        taken = chain.nodes[:-1] if stays and _has_code_left(chain.nodes[-1]) else chain.nodes
        (taken[-1] if taken else conv).replace_all_uses_with(call)
        for node in (*taken[::-1], conv):
            graph.erase_node(node)
        if chain.padding is not None:
            graph.erase_node(chain.padding)
    graph.lint()
    return graph


def _has_code_left(norm: Node) -> bool:
    """Whether a folded norm still computes its activation."""
    return not isinstance(norm.meta["module"], nn.Identity)

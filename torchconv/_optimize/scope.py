"""Which modules a fusion in one module's graph may change: those that no other code calls."""

from collections import Counter
from collections.abc import Set
from typing import Any

from torch import nn
from torch.fx import Graph, Node

from torchconv._optimize.modules import held, reachable


class Holders:
    """Which modules of a model refer to which."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._of: dict[nn.Module, list[nn.Module]] = {}
        for holder in reachable(model):
            for module in held(holder):
                self._of.setdefault(module, []).append(holder)

    def lead_to(self, module: nn.Module, without: nn.Module, hidden: Set[nn.Module]) -> bool:
        """Whether a way to a module avoids ``without``, or goes through one of ``hidden``."""
        seen = {without}
        waiting = [module]
        while waiting:
            holder = waiting.pop()
            if holder not in seen:
                seen.add(holder)
                if holder is self._model or holder in hidden:
                    return True
                waiting.extend(self._of.get(holder, ()))
        return False


class Scope:
    """The graph of ``module``, a part of the model of ``holders``.

    ``view`` is the graph of the largest part of the model around it that could be traced: it shows
    calls by code outside of ``module``.
    """

    def __init__(self, holders: Holders, module: nn.Module, graph: Graph, view: Graph) -> None:
        self.module = module
        self.graph = graph
        self._holders = holders
        self._calls = Counter(_called(node) for node in graph.nodes)
        self._tensors = {id(tensor) for seen in (graph, view) for tensor in _read(seen)}
        self._from_outside = {
            _called(node) for node in view.nodes if module not in node.meta["owners"]
        }

    def why_shared(self, module: nn.Module) -> str | None:
        """Why changing a module would change more than one call, or None."""
        if self._calls[module] > 1:
            return f"it is called {self._calls[module]} times"
        return self.why_used_elsewhere(module)

    def why_used_elsewhere(self, module: nn.Module) -> str | None:
        """Why code outside of this graph may use a module, or None."""
        hidden = self._calls.keys() - {None, module}
        if module in self._from_outside or self._holders.lead_to(module, self.module, hidden):
            return "other parts of the model use it, too"
        tensors = [*module._parameters.values(), *module._buffers.values()]
        if any(id(tensor) in self._tensors for tensor in tensors if tensor is not None):
            return "its parameters are used directly"
        return None

    def all_calls_are(self, module: nn.Module, nodes: list[Node]) -> bool:
        """Whether these nodes are all the calls of a module."""
        calls = sum(node.meta["module"] is module for node in nodes)
        return calls == self._calls[module] and self.why_used_elsewhere(module) is None


def _called(node: Node) -> Any:
    return node.meta.get("module")


def _read(graph: Graph) -> list[Any]:
    """The parameters, buffers and other attributes that the code of a graph uses itself."""
    found = []
    for node in graph.nodes:
        if node.op == "get_attr":
            value: Any = node.meta["owners"][0]
            for name in str(node.target).split("."):
                value = getattr(value, name)
            found.append(value)
    return found

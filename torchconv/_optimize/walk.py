"""Goes through a model, from the innermost modules outwards, and fuses what each can.

A module is changed where its own code shows a chain, so that of a model as little code as possible
is replaced: a residual block, not the network around it.
"""

from typing import TypeVar

import torch
from torch import nn
from torch.fx import Graph

from torchconv._optimize.apply import apply, chains_in_code
from torchconv._optimize.code import methods, names_used
from torchconv._optimize.modules import left_alone
from torchconv._optimize.patterns import find_chains
from torchconv._optimize.proxies import Untraceable
from torchconv._optimize.scope import Holders, Scope
from torchconv._optimize.state import Snapshot
from torchconv._optimize.trace import trace
from torchconv._report import note

Layer = TypeVar("Layer", bound=nn.Module)


class Walk:
    """One pass over ``model``; folded weights are rounded to ``dtype``, if it is not None."""

    def __init__(self, model: nn.Module, dtype: torch.dtype | None) -> None:
        self._model = model
        self._holders = Holders(model)
        self._dtype = dtype
        self.leaves: set[type] = set()  # classes whose code cannot be traced
        self.traced: list[nn.Module] = []  # around which there is no traced code
        self._untraced: set[str] = set()  # names in the code around, which was not traced
        self._seen: set[nn.Module] = set()

    def visit(self, module: nn.Module, view: Graph | None = None) -> None:
        """Optimises a module and all inside; ``view`` is a graph that shows calls from outside."""
        if module in self._seen:
            return
        self._seen.add(module)
        reason = left_alone(module)
        if reason is not None:
            note(module, reason=reason)
            self._seen.update(module.modules())
            return
        has_layers = any(isinstance(each, nn.Conv2d) for each in module.modules())
        if isinstance(module, nn.Conv2d) or not has_layers:
            return
        if view is not None and all(node.meta.get("module") is not module for node in view.nodes):
            self._visit_children(module, view)
            graph, _ = self._trace(module)
            if graph is not None:
                self._fuse(Scope(self._holders, module, graph, view))
        else:
            self._visit_top(module)

    def _visit_top(self, module: nn.Module) -> None:
        """The same for a module around which no code could be traced."""
        before = Snapshot(module.modules())
        view, problem = self._trace(module)
        if view is None:
            self._untraced |= names_used(type(module))
        else:
            self.traced.append(module)
        self._visit_children(module, view)
        if view is not None:
            graph, problem = self._trace(module)
            if graph is not None:
                self._fuse(Scope(self._holders, module, graph, view))
            else:  # its code does not go with what became of its children
                before.restore()
        if problem is not None and type(module).forward is not nn.Module.forward:
            note(module, reason=f"not traced: {problem}")

    def _visit_children(self, module: nn.Module, view: Graph | None) -> None:
        for child in module.children():
            self.visit(child, view)

    def _trace(self, module: nn.Module) -> tuple[Graph | None, str | None]:
        try:
            return trace(module, self.leaves), None
        except Untraceable as error:
            return None, str(error)

    def _fuse(self, scope: Scope) -> None:
        reasons: dict[nn.Module, str] = {}
        chains = find_chains(scope, reasons.__setitem__)
        used = self._untraced & methods(type(scope.module))
        if used:
            problem = f"other code may call {type(scope.module).__name__}.{min(used)}"
            for chain in chains_in_code(scope, chains):
                reasons[chain.layer] = problem
            chains = [chain for chain in chains if chain.layer not in reasons]
        problem = apply(scope, chains, self._dtype, self.leaves) if chains else None
        for chain in chains if problem is not None else ():
            reasons[chain.layer] = str(problem)
        for layer, reason in reasons.items():
            note(layer, reason=reason)

    def layers(self, kind: type[Layer]) -> list[Layer]:
        """Modules of a class that are not in a part of the model that is left alone."""
        found: list[Layer] = []
        waiting = [self._model]
        seen: set[nn.Module] = set()
        while waiting:
            module = waiting.pop()
            if module in seen or left_alone(module) is not None:
                continue
            seen.add(module)
            waiting.extend(module.children())
            if isinstance(module, kind):
                found.append(module)
        return found

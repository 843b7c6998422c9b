"""A module whose forward is a graph, and which is otherwise the module it was."""

import copy
import functools
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.fx import Graph, GraphModule, Node, Tracer

from torchconv._optimize.proxies import InPlaceProxy
from torchconv._optimize.state import become
from torchconv._programs.recipe import Recipe
from torchconv._programs.shortcut import Shortcut, shortcut_of


class Reading(Tracer):
    """Makes a graph of the code of a saved module, as it is: PyTorch would read ``x += y`` as
    ``x = x + y`` and compute what depends on buffers alone."""

    proxy_buffer_attributes = True

    def proxy(self, node: Node) -> InPlaceProxy:
        return InPlaceProxy(node, self)


class FusedGraph(GraphModule):
    """A ``GraphModule`` that keeps its hooks and all of its attributes when it is copied or saved.

    ``GraphModule`` drops hooks, and the attributes that its graph does not use.
    """

    def _deepcopy_init(self) -> Callable[..., None]:
        return functools.partial(GraphModule.__init__, class_name=type(self).__name__)

    def __deepcopy__(self, memo: dict[int, Any]) -> "FusedGraph":
        copied = super().__deepcopy__(memo)
        _keep(copied, copy.deepcopy(vars(self), memo))  # the same copies: they are in the memo
        return copied  # type: ignore[return-value]

    def __reduce__(self) -> tuple[Any, ...]:
        load, (attributes, *rest) = super().__reduce__()
        shortcut = shortcut_of(self)  # refers to the module, which is not there before it is loaded
        recipe = None if shortcut is None else attributes.pop("forward").recipe
        return _load, (type(self).__name__, load, (attributes, *rest), recipe)


def replace_code(module: nn.Module, graph: Graph) -> None:
    """Makes ``graph`` the forward of a module, which stays the same object.

    Attributes of its class stay attributes; methods go, as they do not know of the change.
    """
    kind = type(module)
    copied = Graph(tracer_cls=Reading)
    copied.output(copied.graph_copy(graph, {}))
    fused = FusedGraph(module, copied, class_name=kind.__name__)
    _keep(fused, _plain_class_attributes(kind) | vars(module))
    become(module, fused)
    module.graph = copied  # type: ignore[assignment]  # which refers to the module it belongs to


def _keep(module: GraphModule, attributes: dict[str, Any]) -> None:
    """Adds attributes, but not those that every GraphModule has of its own."""
    for name, value in attributes.items():
        if name not in _of_graphs():
            vars(module)[name] = value


@functools.cache
def _of_graphs() -> frozenset[str]:
    return frozenset(vars(GraphModule(nn.Module(), Graph())).keys() - vars(nn.Module()).keys())


def _plain_class_attributes(kind: type) -> dict[str, Any]:
    classes = [each for each in kind.__mro__ if each not in nn.Module.__mro__]
    return {
        name: value
        for each in reversed(classes)
        for name, value in vars(each).items()
        if isinstance(value, (bool, int, float, str, tuple)) and not name.startswith("__")
    }


def _load(
    name: str,
    load: Callable[..., GraphModule],
    arguments: tuple[Any, ...],
    recipe: Recipe | None = None,
) -> FusedGraph:
    loaded = load(*arguments)
    fused = FusedGraph(loaded, loaded.graph, class_name=name)
    _keep(fused, arguments[0])
    if recipe is not None:
        vars(fused)["forward"] = Shortcut(fused, recipe)
    return fused

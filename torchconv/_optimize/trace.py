"""Traces the code of a module with torch.fx, or says why a trace would not be faithful.

The graph is the code as it is in eval mode. A node's ``meta`` has the modules whose code made it
(``owners``, from the root to the innermost) and the module that it calls (``module``).
"""

import inspect
import random
import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node
from torch.fx.proxy import Proxy
from torch.utils._python_dispatch import TorchDispatchMode

from torchconv._optimize.code import asks_for_type, asks_whether_none, unfit
from torchconv._optimize.modules import has_its_own_call, is_leaf
from torchconv._optimize.proxies import StrictProxy, Untraceable
from torchconv._optimize.state import Snapshot


def trace(module: nn.Module, leaves: set[type]) -> Graph:
    """The graph of a module.

    Classes whose code cannot be traced are added to ``leaves``: a call of them is one node.

    Raises:
        Untraceable: the code of the module itself cannot be traced.
    """
    reason = unfit(module)
    if reason is not None:
        raise Untraceable(reason)
    modules = list(module.modules())
    while True:
        tracer = _Tracer(leaves)
        before, random_before = Snapshot(modules), _random_states()
        try:
            with _NoArithmetic(tracer):
                graph = tracer.trace(module)
            problem = tracer.problem
        except Exception as error:
            graph, problem = None, tracer.problem or _first_line(error)
        changed = before.changed()
        if changed:
            before.restore()
            culprit, problem = changed[0], "its forward changes the module"
        else:
            culprit = tracer.culprit
        if _random_states() != random_before:
            _restore_random(random_before)
            raise Untraceable("it draws random numbers")
        if graph is not None and problem is None:
            return graph
        if culprit is None or culprit is module or type(culprit) in (nn.Sequential, *leaves):
            raise Untraceable(problem or "it cannot be traced")
        leaves.add(type(culprit))


class _Tracer(torch.fx.Tracer):
    proxy_buffer_attributes = True

    def __init__(self, leaves: set[type]) -> None:
        super().__init__()
        self.problem: str | None = None
        self.culprit: nn.Module | None = None
        self._leaves = leaves
        self._owners: list[nn.Module] = []
        self._mode = _mode()

    def trace(self, root: Any, concrete_args: Any = None) -> Graph:
        self._owners = [root]
        if asks_for_type(type(root).forward):
            raise self.refused("its forward asks for the type of a value")
        return super().trace(root, concrete_args)

    def refused(self, reason: str) -> Untraceable:
        self.problem = self.problem or reason  # it counts even where the code catches exceptions
        self.culprit = self.culprit or self._owners[-1]
        return Untraceable(reason)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in self._leaves or is_leaf(m)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        if has_its_own_call(m):
            raise self.refused(f"it calls {type(m).__name__}, which has a __call__ of its own")
        if self.is_leaf_module(m, ""):
            value = super().call_module(m, forward, args, kwargs)
            value.node.meta["module"] = m
            return value
        self._owners.append(m)
        try:
            self._check_questions(type(m).forward, (m, *args), kwargs)
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.culprit = self.culprit or m
            raise
        finally:
            self._owners.pop()

    def _check_questions(self, function: Any, args: Any, kwargs: Any) -> None:
        """Refuses code that asks what a proxy cannot know and cannot refuse to answer."""
        if asks_for_type(function):
            raise self.refused("its forward asks for the type of a value")
        asked = asks_whether_none(function)
        given = inspect.signature(function).bind(*args, **kwargs).arguments if asked else {}
        for name in asked & given.keys():
            if isinstance(given[name], Proxy) and _may_be_none(given[name].node):
                raise self.refused(f"its forward asks whether {name} is None")

    def create_node(self, kind: str, *arguments: Any, **options: Any) -> Node:
        if _mode() != self._mode:
            raise self.refused("it switches gradients or autocast")
        node = super().create_node(kind, *arguments, **options)
        node.meta["owners"] = tuple(self._owners)
        node.type = None
        return node

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, Proxy):
            return a.node
        if isinstance(a, Tensor) and not isinstance(a, nn.Parameter) and a not in self.tensor_attrs:
            raise self.refused("it uses a tensor that it does not hold as an attribute")
        return super().create_arg(a)

    def proxy(self, node: Node) -> StrictProxy:
        return StrictProxy(node, self)


def _may_be_none(node: Node) -> bool:
    """Whether a value comes from code that the graph does not show."""
    module = node.meta.get("module")
    from_torch = module is not None and type(module).__module__.startswith("torch.nn.")
    return node.op == "placeholder" or (node.op == "call_module" and not from_torch)


class _NoArithmetic(TorchDispatchMode):
    """Refuses to compute with real tensors: their values would become constants of the graph."""

    def __init__(self, tracer: _Tracer) -> None:
        super().__init__()
        self._tracer = tracer

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise self._tracer.refused(f"it computes {func} from no argument of its own")


def _mode() -> tuple[Any, ...]:
    """The state of the interpreter that changes results and leaves no trace in a graph."""
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.is_autocast_enabled("cuda"),
        torch.get_autocast_dtype("cpu"),
        torch.get_autocast_dtype("cuda"),
        torch.get_default_dtype(),
    )


def _random_states() -> tuple[Any, ...]:
    """Of Python, PyTorch and NumPy, in a form that can be compared."""
    states = random.getstate(), bytes(torch.get_rng_state().tolist())
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return states
    name, keys, *others = numpy.random.get_state()
    return *states, name, keys.tobytes(), *others


def _restore_random(states: tuple[Any, ...]) -> None:
    random.setstate(states[0])
    torch.set_rng_state(torch.tensor(list(states[1]), dtype=torch.uint8))
    if len(states) > 2:
        numpy = sys.modules["numpy"]
        name, keys, *others = states[2:]
        numpy.random.set_state((name, numpy.frombuffer(keys, numpy.uint32), *others))


def _first_line(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}"[:120]

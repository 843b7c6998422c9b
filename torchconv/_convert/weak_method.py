"""A function in place of a method, in one layer and not in its class."""

import weakref
from collections.abc import Callable
from typing import Any

from torch import nn

_REPLICATE = "_replicate_for_data_parallel"


class WeakMethod:
    """``run`` as a method of one layer, which keeps its exact type.

    The layer holds it as an attribute; copies of the layer, files too, hold one of their own. It
    refers to the layer weakly: in a cycle, a model's memory would wait for the garbage collector.
    """

    __slots__ = ("_layer", "_name", "_run")

    def __init__(self, layer: nn.Module, name: str, run: Callable[..., Any]) -> None:
        self._layer = weakref.ref(layer)
        self._name = name
        self._run = run

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._run(self._its_layer(), *arguments, **options)

    def __reduce__(self) -> tuple[type["WeakMethod"], tuple[nn.Module, str, Callable[..., Any]]]:
        return WeakMethod, (self._its_layer(), self._name, self._run)

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """The method of the class, of which others read signature and code (TorchScript)."""
        layer = self._its_layer()
        return getattr(type(layer), self._name).__get__(layer)

    def __getattr__(self, name: str) -> Any:
        if name == "__code__":  # in which torch.export finds the names of arguments
            return self.__wrapped__.__code__
        raise AttributeError(f"'WeakMethod' object has no attribute {name!r}")

    def _its_layer(self) -> nn.Module:
        layer = self._layer()
        if layer is None:
            raise ReferenceError(
                "this layer is a shallow copy (copy.copy) of a converted layer that is gone; "
                "call torchconv.convert on the copy"
            )
        return layer


def is_replaced(module: nn.Module) -> bool:
    """Whether :func:`replace` has put a method of its own into a module."""
    own = vars(module)
    return any(isinstance(own.get(name), WeakMethod) for name in ("_conv_forward", "forward"))


def is_replaced_by_others(module: nn.Module, name: str) -> bool:
    """Whether someone else has put a method of that name into a module."""
    return not isinstance(vars(module).get(name), WeakMethod | None)


def replace(layer: nn.Module, name: str, run: Callable[..., Any]) -> None:
    own = vars(layer)
    own[name] = WeakMethod(layer, name, run)
    if name == "forward":  # which reads the weights of its layer, and replicas have others
        own[_REPLICATE] = WeakMethod(layer, _REPLICATE, _replica)


def put_back(module: nn.Module) -> None:
    """Leaves a module without what :func:`replace` has put into it."""
    own = vars(module)
    for name in ("_conv_forward", "forward", _REPLICATE):
        if isinstance(own.get(name), WeakMethod):
            del own[name]


def _replica(layer: Any) -> nn.Module:
    replica = type(layer)._replicate_for_data_parallel(layer)
    replace(replica, "forward", vars(layer)["forward"]._run)
    return replica

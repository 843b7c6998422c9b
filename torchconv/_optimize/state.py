"""What modules hold, taken down so that a change is seen and can be undone."""

from collections.abc import Iterable
from typing import Any

from torch import nn


class Snapshot:
    """The class, the attributes and the plain containers among them, of some modules.

    Tensors are held, not copied: their values are not compared.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._taken = [(module, type(module), _contents(module)) for module in modules]

    def changed(self) -> list[nn.Module]:
        """The modules that hold something else now."""
        return [
            module
            for module, kind, contents in self._taken
            if type(module) is not kind or not _same_contents(contents, module)
        ]

    def restore(self) -> None:
        for module, kind, contents in self._taken:
            module.__class__ = kind
            vars(module).clear()
            for name, (value, elements) in contents.items():
                vars(module)[name] = value
                if elements is not None and not _same(value, elements):
                    value.clear()
                    (value.extend if isinstance(value, list) else value.update)(elements)


def become(module: nn.Module, other: nn.Module) -> None:
    """Makes a module what ``other`` is, and keeps the object, so that all who refer to it see it.

    Raises:
        TypeError: an object of the one class cannot become one of the other.
    """
    module.__class__ = type(other)
    vars(module).clear()
    vars(module).update(vars(other))


def _contents(module: nn.Module) -> dict[str, tuple[Any, Any]]:
    return {name: (value, _elements(value)) for name, value in vars(module).items()}


def _elements(value: Any) -> Any:
    for kind in (dict, list, set):
        if isinstance(value, kind):
            return kind(value)
    return None


def _same_contents(contents: dict[str, tuple[Any, Any]], module: nn.Module) -> bool:
    now = vars(module)
    return now.keys() == contents.keys() and all(
        now[name] is value and (elements is None or _same(value, elements))
        for name, (value, elements) in contents.items()
    )


def _same(container: Any, elements: Any) -> bool:
    if len(container) != len(elements):
        return False
    if isinstance(container, set):
        return container == elements
    if isinstance(container, dict):
        return all(key in container and container[key] is elements[key] for key in elements)
    return all(one is other for one, other in zip(container, elements, strict=True))

"""Something to do once another module has been imported, without importing it."""

import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Action = Callable[[ModuleType], None]


def when_imported(name: str, then: Action) -> None:
    """Calls ``then(module)``, now or right after the module of that name has been executed."""
    if name in sys.modules:
        then(sys.modules[name])
        return
    _watch.actions[name] = then
    if _watch not in sys.meta_path:
        sys.meta_path.insert(0, _watch)


class _Watch(MetaPathFinder):
    """Finds nothing itself: it asks the other finders and adds an action to what they found."""

    def __init__(self) -> None:
        self.actions: dict[str, Action] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in self.actions:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_act(module: ModuleType) -> None:
            execute(module)
            action = self.actions.pop(name, None)  # gone where it was imported twice
            if action is not None:
                action(module)

        spec.loader.exec_module = execute_and_act  # type: ignore[method-assign]
        return spec


_watch = _Watch()

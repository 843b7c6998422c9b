"""``include`` and ``exclude``: which modules of a model are meant."""

import warnings
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from torch import nn

from torchconv._convert.plan import plan_of

Rule: TypeAlias = Callable[[str, nn.Module], bool] | str | type[nn.Module]
Rules: TypeAlias = Rule | Sequence[Rule]


def rules_of(argument: str, given: Any) -> list[Rule]:
    """One or several rules as a list.

    Raises:
        TypeError: there is something else among them.
    """
    rules = [given] if isinstance(given, str) or not isinstance(given, Sequence) else list(given)
    for rule in rules:
        is_class = isinstance(rule, type)
        if (is_class and not issubclass(rule, nn.Module)) or not (
            is_class or isinstance(rule, str) or callable(rule)
        ):
            raise TypeError(
                f"convert(): {argument} must be a pattern of names, a class of modules, a callable "
                f"(name, module) -> bool or a sequence of these, but got {rule!r}"
            )
    return rules


def selected(model: nn.Module, argument: str, rules: Sequence[Rule]) -> set[nn.Module]:
    """The modules that a rule holds for, with all inside them.

    Callables are asked about convolutions only. A module with several names is meant by each.
    """
    found: set[nn.Module] = set()
    for rule in rules:
        hits = {
            module
            for name, module in model.named_modules(remove_duplicate=False)
            if _holds(rule, name, module)
        }
        if isinstance(rule, str) and not hits:
            text = f"convert(): no module has a name that matches {argument}={rule!r}"
            warnings.warn(text, stacklevel=3)
        for hit in hits - found:
            found.update(hit.modules())
    return found


def _holds(rule: Rule, name: str, module: nn.Module) -> bool:
    if isinstance(rule, str):
        return fnmatchcase(name, rule)
    if isinstance(rule, type):
        return isinstance(module, rule)
    return plan_of(module) is not None and bool(rule(name, module))

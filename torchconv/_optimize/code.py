"""What can be told from the code of a class without running it."""

import dis
import functools
import inspect
from collections.abc import Iterator
from types import CodeType
from typing import Any

from torch import nn
from torch.nn.modules.module import _has_any_global_hook

from torchconv._optimize.modules import has_its_own_call, left_alone


def unfit(module: nn.Module) -> str | None:
    """Why a module's own code cannot be the root of a trace, whatever it does."""
    reason = left_alone(module)
    if reason is not None:
        return reason
    if _has_any_global_hook():
        return "there are hooks of all modules"
    kind = type(module)
    if "forward" in vars(module):
        return "its forward was replaced"
    if has_its_own_call(module):
        return "its class has a __call__ of its own"
    function = kind.forward
    if function is nn.Module.forward:
        return "it has no forward"
    if not inspect.isfunction(function) or hasattr(function, "__wrapped__"):
        return "its forward is decorated"
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
            return f"its forward takes {parameter}"
        if parameter.default is not parameter.empty:
            return f"its forward has an optional argument {parameter.name!r}"
    asked = asks_whether_none(function)
    if asked:
        return f"its forward asks whether {min(asked)} is None"
    return None


@functools.cache
def asks_whether_none(function: Any) -> frozenset[str]:
    """The parameters of which the code asks ``x is None``: a proxy always answers no."""
    parameters = frozenset(inspect.signature(function).parameters)
    found: frozenset[str] = frozenset()
    loaded: frozenset[str] = frozenset()
    for step in dis.get_instructions(function):
        if step.opname == "IS_OP" or "_NONE" in step.opname:
            found |= parameters & loaded
        if step.opname.startswith("LOAD_FAST"):
            loaded = frozenset(step.argval if isinstance(step.argval, tuple) else [step.argval])
        elif step.opname != "LOAD_CONST":
            loaded = frozenset()
    return found


@functools.cache
def asks_for_type(function: Any) -> bool:
    """Whether the code calls ``type``: a proxy cannot refuse to answer."""
    steps = dis.get_instructions(function)
    return any(step.opname == "LOAD_GLOBAL" and step.argval == "type" for step in steps)


def methods(kind: type) -> set[str]:
    """The names of what a module has by its class, other than ``forward``."""
    return {
        name
        for each in kind.__mro__
        if each not in nn.Module.__mro__
        for name, value in vars(each).items()
        if (callable(value) or hasattr(value, "__get__")) and not name.startswith("__")
    } - {"forward"}


def names_used(kind: type) -> set[str]:
    """The names of attributes and functions in the code of a class."""
    functions = (getattr(kind, name) for name in methods(kind) | {"forward"})
    code = (getattr(inspect.unwrap(each), "__code__", None) for each in functions if callable(each))
    return {name for each in code if each is not None for name in _names(each)}


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)

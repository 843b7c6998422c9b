"""What the code of a module is, and which attributes it reads, so that a change of either is seen.

A trace has both as they were. The code may change between two versions of a package that a saved
model refers to, or because somebody edits the graph of a module.
"""

import functools
import hashlib
import inspect
from collections.abc import Callable
from types import BuiltinFunctionType, CodeType, FunctionType
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule

from torchconv._optimize.code import methods, names_used
from torchconv._programs.recipe import MISSING, Code

_NAMES_OF_MODULES = frozenset(vars(nn.Module())) - {"training"}
_PLAIN = (
    bool, int, float, complex, str, bytes, type(None), type, FunctionType, BuiltinFunctionType,
    torch.Size, torch.dtype, torch.device, torch.memory_format, torch.layout,
)  # fmt: skip
_CONTAINERS = (tuple, list, dict, set, frozenset)


class Unreadable(Exception):
    """Code reads an attribute of which a change would not be seen."""


def fingerprint(kind: type[nn.Module]) -> str:
    """The same for the same code, in another process, too."""
    found = hashlib.sha256()
    for function in _functions(kind):
        code = getattr(inspect.unwrap(function), "__code__", None)
        found.update(repr(_described(code)).encode())
    return found.hexdigest()


def _functions(kind: Any) -> list[Callable[..., Any]]:
    if issubclass(kind, GraphModule):
        return [kind.forward]
    functions = (getattr(kind, name) for name in (*sorted(methods(kind)), "forward"))
    return [each for each in functions if callable(each)]


def _described(code: Any) -> Any:
    if isinstance(code, CodeType):
        return code.co_code, code.co_names, [_described(each) for each in code.co_consts]
    if isinstance(code, frozenset):  # whose order changes from process to process
        return sorted(map(repr, code))
    return code


class Reader:
    """Reads the code of modules; that of a class once, as it does not change meanwhile."""

    def __init__(self) -> None:
        self._fingerprint = functools.cache(fingerprint)
        self._names = functools.cache(_names)

    def code_of(self, module: nn.Module, name: str) -> Code:
        """Of a module of that name.

        Raises:
            Unreadable: it reads what may change unnoticed.
        """
        kind = type(module)
        found: dict[str, Any] = {}
        for each in self._names(kind):
            if each in vars(module):
                found[each] = taken_down(vars(module)[each])
            elif hasattr(kind, each):
                found[each] = MISSING
        return Code(name, self._fingerprint(kind), tuple(module._modules), found)


def _names(kind: Any) -> list[str]:
    """Those in the code of a class that may be attributes of its own, other than what it holds."""
    is_graph = issubclass(kind, GraphModule)
    names = set(kind.forward.__code__.co_names) if is_graph else names_used(kind)
    return sorted(names - _NAMES_OF_MODULES)


def taken_down(value: Any) -> Any:
    """A value as it is now; of a container a copy.

    Raises:
        Unreadable: it may change without becoming another object.
    """
    if isinstance(value, _PLAIN):
        return value
    if type(value) not in _CONTAINERS:
        raise Unreadable(type(value).__name__)
    if isinstance(value, dict):
        return {key: taken_down(each) for key, each in value.items()}
    return type(value)(taken_down(each) for each in value)


def is_container(value: Any) -> bool:
    return isinstance(value, _CONTAINERS) and not isinstance(value, _PLAIN)

"""What the code of a module is, and which attributes it reads, so that a change of either is seen.

A trace has both as they were. The code may change between two versions of a package that a saved
model refers to, or because somebody edits the graph of a module.
"""

import hashlib
import inspect
from collections.abc import Callable
from types import BuiltinFunctionType, CodeType, FunctionType
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule

from torchconv._optimize.code import methods, names_used
from torchconv._programs.recipe import MISSING

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


def attributes_read(module: nn.Module) -> dict[str, Any]:
    """The attributes of a module that its code may read, but for modules and tensors that it holds.

    Raises:
        Unreadable: one is neither plain data nor a container of that.
    """
    kind = type(module)
    names = (
        set(kind.forward.__code__.co_names) if isinstance(module, GraphModule) else names_used(kind)
    )
    found: dict[str, Any] = {}
    for name in sorted(names - _NAMES_OF_MODULES):
        if name in vars(module):
            found[name] = taken_down(vars(module)[name])
        elif hasattr(kind, name):
            found[name] = MISSING
    return found


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

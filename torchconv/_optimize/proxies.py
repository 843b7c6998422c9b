"""Values of a trace that refuse questions which they cannot answer.

A proxy of torch.fx says no to ``isinstance(x, Tensor)`` and yes to ``hasattr(x, "anything")``, and
the trace silently follows the wrong branch. These raise instead.
"""

import sys
from typing import Any, NoReturn, Protocol

import torch
from torch.fx.proxy import Attribute, Proxy


class Untraceable(Exception):
    """Code that a trace would not record faithfully."""


class Refusing(Protocol):
    def refuse(self, reason: str) -> NoReturn: ...


class _Strict:
    tracer: Any

    @property
    def __class__(self) -> type:  # type: ignore[override]
        caller = sys._getframe(1).f_globals.get("__name__") or ""
        if caller.partition(".")[0] == "torch":
            return type(self)
        self.tracer.refuse("it asks for the type of a value")

    def __getattr__(self, name: str) -> "StrictAttribute":
        if name.startswith("__"):
            raise AttributeError(name)
        if not hasattr(torch.Tensor, name) and not hasattr(torch.Size, name):
            self.tracer.refuse(f"it asks a value for {name!r}, which tensors do not have")
        return StrictAttribute(self, name)  # type: ignore[arg-type]


class StrictProxy(_Strict, Proxy):
    """A value."""


class StrictAttribute(_Strict, Attribute):
    """An attribute of a value, such as ``x.shape``."""

"""Values of a trace that record what was written, or refuse where they cannot.

A proxy of torch.fx takes ``x += y`` for ``x = x + y``, which other names of ``x`` would not see. It
says no to ``isinstance(x, Tensor)`` and yes to ``hasattr(x, "anything")``, and the trace silently
follows the wrong branch.
"""

import operator
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.fx.proxy import Attribute, Proxy


class Untraceable(Exception):
    """Code that a trace would not record faithfully."""


IN_PLACE = [
    name
    for name in vars(operator)
    if name.startswith("i")
    and hasattr(operator, f"__{name}__")
    and hasattr(Proxy, f"__{name[1:]}__")
]


def _in_place(name: str) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", getattr(operator, name), (self, other), {})

    return method


class InPlaceProxy(Proxy):
    """A value that can be changed in place."""


for _name in IN_PLACE:
    setattr(InPlaceProxy, f"__{_name}__", _in_place(_name))


class StrictProxy(InPlaceProxy):
    """A value that raises where its answer might be wrong."""

    tracer: Any

    @property
    def __class__(self) -> type:  # type: ignore[override]
        caller = sys._getframe(1).f_globals.get("__name__") or ""
        if caller.partition(".")[0] == "torch":
            return type(self)
        raise self.tracer.refused("it asks for the type of a value")

    def __getattr__(self, k: str) -> "_StrictAttribute":
        if k.startswith("__"):
            raise AttributeError(k)
        if not hasattr(torch.Tensor, k) and not hasattr(torch.Size, k):
            raise self.tracer.refused(f"it asks a value for {k!r}, which tensors do not have")
        return _StrictAttribute(self, k)


class _StrictAttribute(StrictProxy, Attribute):
    """An attribute of a value, such as ``x.shape``."""

    __init__ = Attribute.__init__

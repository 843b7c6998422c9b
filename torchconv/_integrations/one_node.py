"""What makes a layer of torchconv one node in a graph of torch.fx, as those of ``torch.nn`` are."""

import functools
from typing import Any, TypeVar

from torch import nn

Layer = TypeVar("Layer", bound=type[nn.Module])


def one_node(kind: Layer) -> Layer:
    """Makes a class of layers one node in a graph of torch.fx, under its own name.

    torch.fx traces through every module but those of ``torch.nn``, and it asks the instance whether
    it is one.
    """

    init: Any = kind.__init__

    @functools.wraps(init)
    def init_and_tell(self: nn.Module, *arguments: Any, **options: Any) -> None:
        init(self, *arguments, **options)
        # Of others' subclasses torch.fx sees the inside, as of those of nn.Conv2d.
        if type(self).__module__.partition(".")[0] == "torchconv":
            vars(self)["__module__"] = nn.Conv2d.__module__

    kind.__init__ = init_and_tell  # type: ignore[method-assign]
    return kind

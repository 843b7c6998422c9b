"""What a program is made from: plain data, which copies and files of a model have, too.

Modules are named as in ``named_modules()`` of the one that the recipe belongs to. Values are
numbered: first the arguments of its forward, then results in the order in which they are computed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple


@dataclass(frozen=True)
class Value:
    """In the place of an argument: the value with this number."""

    number: int


class Call(NamedTuple):
    """A node of a graph of torch.fx."""

    op: str
    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: int


class Step(NamedTuple):
    """A call that a program computes: of a layer with input and, maybe, residual; the mean over
    the pixels of an input; such a mean flattened, for linear layers; or the product of an input and
    a factor for each channel."""

    kind: Literal["layer", "mean", "flatten", "product"]
    operands: tuple[int, ...]
    call: Call


class Segment(NamedTuple):
    """Consecutive steps. Only the outputs are used elsewhere."""

    steps: tuple[Step, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Part(NamedTuple):
    """A segment, or a call between segments, and the values that nothing uses after it."""

    content: Segment | Call
    released: tuple[int, ...]


class Code(NamedTuple):
    """The code of a module that the recipe stands for, the names of its children in their order,
    and the attributes that it reads.

    An attribute that the class alone has is ``MISSING``.
    """

    module: str
    fingerprint: str
    children: tuple[str, ...]
    attributes: dict[str, Any]


class Missing:
    """There is no such attribute."""

    def __reduce__(self) -> str:
        return "MISSING"


MISSING = Missing()


@dataclass(frozen=True, eq=False)
class Recipe:
    arguments: int
    values: int
    parts: tuple[Part, ...]
    result: Any
    layers: tuple[str, ...]
    codes: tuple[Code, ...]  # of all modules but the layers and those that are called as they are

    def __deepcopy__(self, memo: Any) -> "Recipe":
        return self


def values_in(argument: Any) -> Iterator[int]:
    """The numbers of all values in an argument, which may be nested."""
    if isinstance(argument, Value):
        yield argument.number
    elif isinstance(argument, slice):
        yield from values_in((argument.start, argument.stop, argument.step))
    elif isinstance(argument, (tuple, list)):
        for each in argument:
            yield from values_in(each)
    elif isinstance(argument, dict):
        yield from values_in(list(argument.values()))

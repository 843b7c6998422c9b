"""Runs the parts of a recipe: segments as programs of C++, and the calls between them as they are.

A program is linked by its first run, which knows the values that enter each segment.
"""

import operator
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from torchconv._kept_weights import unwatched
from torchconv._programs.call import Key
from torchconv._programs.recipe import Call, Recipe, Segment, Value
from torchconv._programs.segment import LinkedSegment, Run, Values
from torchconv._programs.watch import Watch


class Program:
    """A recipe with modules, for calls of one key.

    Raises:
        NotNow: it cannot be made as things are.
    """

    def __init__(self, module: nn.Module, recipe: Recipe, key: Key) -> None:
        self.key = key
        self._watch = Watch(module, recipe)
        self._trainable = any(_requires_grad(layer) for layer, *_ in self._watch.layers.values())
        self._more = [None] * (recipe.values - recipe.arguments)
        self._result = _reader(recipe.result)
        self._segments: list[LinkedSegment] = []
        self._parts = [(self._part(part.content, module), part.released) for part in recipe.parts]

    def _part(self, content: Segment | Call, module: nn.Module) -> Any:
        if isinstance(content, Call):
            return _run_of(content, module)
        calls = [_run_of(step.call, module) for step in content.steps]
        self._segments.append(LinkedSegment(content, self._watch, calls))
        return self._segments[-1]

    @property
    def bytes(self) -> int:
        """What it keeps for results between layers."""
        return sum(segment.bytes for segment in self._segments)

    @property
    def is_fit(self) -> bool:
        """Whether the operators can compute all segments."""
        return all(segment.is_fit for segment in self._segments)

    def holds(self, module: nn.Module) -> bool:
        """Whether the module is what the program was made of."""
        return self._watch.holds(module)

    @property
    def has_derivatives(self) -> bool:
        return self._trainable and torch.is_grad_enabled()

    def run(self, arguments: tuple[Any, ...], link: bool = False) -> tuple[Any, bool]:
        """What the module returns, and whether all segments were computed by their programs."""
        values: Values = [*arguments, *self._more]
        all_ran = True
        for part, released in self._parts:
            if isinstance(part, LinkedSegment):
                ran = part.link(values) if link else part.run(values)
                all_ran = all_ran and ran
            else:
                part(values)
            for number in released:
                values[number] = None
        return self._result(values), all_ran


def _requires_grad(layer: nn.Module) -> bool:
    parameters: Any = layer._parameters
    found = (unwatched(parameters, name) for name in ("weight", "bias"))
    return any(each is not None and each.requires_grad for each in found)


def _run_of(call: Call, module: nn.Module) -> Run:
    """What computes a call of ``values`` and puts its result there."""
    arguments = _reader(call.args)
    named = {name: _reader(each) for name, each in call.kwargs.items()}
    result = call.result
    if call.op == "get_attr":
        read = operator.attrgetter(call.target)
        owner = weakref.ref(module)  # a program does not keep its module alive

        def get(values: Values) -> None:
            values[result] = read(owner())

        return get
    if call.op == "call_method":
        function: Callable[..., Any] = _method(call.target)
    else:
        is_module = call.op == "call_module"
        function = module.get_submodule(call.target) if is_module else call.target

    def run(values: Values) -> None:
        options = {name: read(values) for name, read in named.items()}
        values[result] = function(*arguments(values), **options)

    return run


def _method(name: str) -> Callable[..., Any]:
    def method(value: Any, *arguments: Any, **options: Any) -> Any:
        return getattr(value, name)(*arguments, **options)

    return method


def _reader(argument: Any) -> Callable[[Values], Any]:
    """What makes an argument, with values in it, of the list of all values."""
    if isinstance(argument, Value):
        return operator.itemgetter(argument.number)
    if isinstance(argument, slice):
        ends = _readers((argument.start, argument.stop, argument.step))
        return lambda values: slice(*(read(values) for read in ends))
    if isinstance(argument, (tuple, list)):
        elements = _readers(argument)
        kind = type(argument)
        if hasattr(kind, "_fields"):
            return lambda values: kind(*(read(values) for read in elements))
        return lambda values: kind([read(values) for read in elements])
    if isinstance(argument, dict):
        entries = dict(zip(argument, _readers(argument.values()), strict=True))
        return lambda values: {key: read(values) for key, read in entries.items()}
    return lambda values: argument


def _readers(arguments: Any) -> list[Callable[[Values], Any]]:
    return [_reader(each) for each in arguments]

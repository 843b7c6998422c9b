"""Whether modules still are what a program was made of.

Asked before each call, so that it is a few comparisons of whole lists, each of which is one call
into C: a hundred layers take tens of microseconds.
"""

from itertools import chain, repeat
from operator import attrgetter, contains, is_
from typing import Any

from torch import nn
from torch.nn.modules import module as globals_of_modules

from torchconv._activations.layer import ConvActivation2d
from torchconv._kept_weights import KeptWeights, Packed
from torchconv._optimize.linear import PackedLinear
from torchconv._optimize.modules import does_nothing
from torchconv._optimize.residual import ResidualConv2d
from torchconv._programs.reading import Reader, Unreadable, is_container
from torchconv._programs.recipe import MISSING, Recipe

_forward = attrgetter("forward")
_handed_out = attrgetter("handed_out")  # of WatchedParameters; so is all that changes a layer
_MISSING = repeat(MISSING)
_KINDS = ConvActivation2d, ResidualConv2d, PackedLinear


class NotNow(Exception):
    """Something is not as the recipe has it, or may be changed unnoticed."""


class Watch:
    """Holds what must stay. The module of the recipe itself is passed to each question: whoever
    held it would keep it alive."""

    def __init__(self, module: nn.Module, recipe: Recipe) -> None:
        self.layers = {name: _layer(module, name) for name in recipe.layers}
        self._parameters = [layer._parameters for layer, *_ in self.layers.values()]
        modules = {code.module: _found(module, code.module) for code in recipe.codes}
        others = [each for each in modules.values() if each is not module]
        layers = [layer for layer, _, _ in self.layers.values()]
        self._hooks: list[Any] = [
            globals_of_modules._global_forward_hooks,
            globals_of_modules._global_forward_pre_hooks,
        ]
        for each in (*others, *layers):
            self._hooks += each._forward_hooks, each._forward_pre_hooks
        if any(self._hooks):
            raise NotNow
        self._vars = [vars(each) for each in others]
        containers = [each for each in modules.values() if not does_nothing(each)]
        self._children = [each._modules for each in containers]
        self._children_then = [dict(each) for each in self._children]
        self._names_then = [*chain.from_iterable(self._children)]
        self._containers = [each for each in containers if each is not module]
        self._kinds = [type(each) for each in self._containers]
        self._kind = type(module)
        self._all_kinds = [*{*map(type, modules.values())}]
        self._forwards = [*map(_forward, self._all_kinds)]
        self._take_attributes(module, modules, recipe)
        if not self.holds(module):
            raise NotNow

    def _take_attributes(
        self, module: nn.Module, modules: dict[str, nn.Module], recipe: Recipe
    ) -> None:
        """Compares the code and the attributes that it reads with those of the recipe."""
        self._lists: list[Any] = []
        self._lists_then: list[Any] = []
        self._own: list[tuple[str, Any]] = []
        self._of: list[dict[str, Any]] = []
        self._names: list[str] = []
        self._values: list[Any] = []
        reader = Reader()
        for code in recipe.codes:
            each = modules[code.module]
            try:
                same = reader.code_of(each, code.module) == code
            except Unreadable:
                same = False
            if not same:
                raise NotNow
            for name, expected in code.attributes.items():
                value = vars(each).get(name, MISSING)
                if is_container(value):
                    self._lists.append(value)
                    self._lists_then.append(expected)
                if each is module:
                    self._own.append((name, value))
                else:
                    self._of.append(vars(each))
                    self._names.append(name)
                    self._values.append(value)

    def holds(self, module: nn.Module) -> bool:
        """Whether the program would give the same as the modules, and nobody could tell."""
        return (
            not any(self._hooks)
            and self._children == self._children_then
            and [*chain.from_iterable(self._children)] == self._names_then
            and not any(map(contains, self._vars, repeat("forward")))
            and type(module) is self._kind
            and [*map(type, self._containers)] == self._kinds
            and all(map(is_, map(_forward, self._all_kinds), self._forwards))
            and all(vars(module).get(name, MISSING) is value for name, value in self._own)
            and all(map(is_, map(dict.get, self._of, self._names, _MISSING), self._values))
            and self._lists == self._lists_then
            and not any(map(_handed_out, self._parameters))
        )


def _found(module: nn.Module, name: str) -> nn.Module:
    try:
        return module.get_submodule(name)
    except AttributeError:
        raise NotNow from None


def _layer(module: nn.Module, name: str) -> tuple[Any, KeptWeights, Packed]:
    layer: Any = _found(module, name)
    if type(layer) not in _KINDS or layer._kept is None:
        raise NotNow
    packed = layer._kept.lasting(layer._parameters)
    if packed is None or "forward" in vars(layer) or layer.padding_mode != "zeros":
        raise NotNow
    return layer, layer._kept, packed

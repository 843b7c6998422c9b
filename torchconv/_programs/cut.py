"""Cuts the graph of a module into segments and the calls between them."""

import pickle
from collections import Counter
from typing import Any

from torch import nn
from torch.fx import Graph, Node

from torchconv._optimize.patterns import passes_through
from torchconv._optimize.proxies import Untraceable
from torchconv._optimize.trace import trace
from torchconv._packed_layer import PackedLayer
from torchconv._programs.reading import Reader, Unreadable
from torchconv._programs.recipe import Call, Code, Part, Recipe, Segment, Step, Value, values_in
from torchconv._programs.steps import (
    flattened_mean,
    layer_operands,
    linear_operand,
    mean_operands,
    product_operands,
    users,
)

# Layers in a segment, on average: fewer are not worth the questions asked before each call.
_WORTH_IT = 3


def recipe_for(module: nn.Module, leaves: set[type]) -> Recipe | None:
    """The recipe of a module whose layers are final, or None if a program would gain nothing."""
    if any(count > 1 for count in Counter(_all_modules(module)).values()):
        return None  # one under two names may become two
    try:
        graph = trace(module, leaves)
        recipe = _Cut(module, graph).recipe()
        if recipe is not None:
            pickle.dumps(recipe)
    except (Untraceable, Unreadable):
        return None
    except Exception:  # from whatever a user's graph refers to: such a model could not be saved
        return None
    return recipe


def _all_modules(module: nn.Module) -> list[nn.Module]:
    return [each for _, each in module.named_modules(remove_duplicate=False)]


class _Cut:
    def __init__(self, module: nn.Module, graph: Graph) -> None:
        self._module = module
        self._graph = graph
        self._numbers: dict[Node, int] = {}
        self._values = 0
        self._flattened: dict[Node, Call] = {}
        self._calls = Counter(node.meta.get("module") for node in graph.nodes)
        self._names = {each: name for name, each in module.named_modules()}

    def recipe(self) -> Recipe | None:
        contents, result = self._contents()
        segments = [each for each in contents if isinstance(each, Segment)]
        layers = [
            str(step.call.target)
            for segment in segments
            for step in segment.steps
            if step.kind == "layer"
        ]
        if not segments or len(layers) < _WORTH_IT * len(segments):
            return None
        arguments = sum(node.op == "placeholder" for node in self._graph.nodes)
        called = [
            self._module.get_submodule(each.target)
            for each in contents
            if isinstance(each, Call) and each.op == "call_module"
        ]
        return Recipe(
            arguments, self._values, _parts(contents, result), result, tuple(layers),
            self._codes(set(layers), called),
        )  # fmt: skip

    def _contents(self) -> tuple[list[Segment | Call], Any]:
        """All parts in order, and what the module returns."""
        found: list[list[Step] | Call] = []
        result = None
        for node in self._graph.nodes:
            if node.op == "output":
                result = self._argument(node.args[0])
            elif node.op == "placeholder":
                self._number(node)
            elif passes_through(node):
                self._numbers[node] = self._numbers[node.all_input_nodes[0]]
            else:
                steps = self._steps(node)
                if steps is None:
                    found.append(self._call(node))
                elif found and isinstance(found[-1], list):
                    found[-1] += steps
                elif steps:
                    found.append(steps)
        return self._segments(found, result), result

    def _number(self, node: Node) -> int:
        self._numbers[node] = self._values
        self._values += 1
        return self._numbers[node]

    def _call(self, node: Node) -> Call:
        arguments = tuple(self._argument(each) for each in node.args)
        named = {name: self._argument(each) for name, each in node.kwargs.items()}
        return Call(node.op, node.target, arguments, named, self._number(node))

    def _argument(self, argument: Any) -> Any:
        if isinstance(argument, Node):
            return Value(self._numbers[argument])
        if isinstance(argument, slice):
            return slice(*map(self._argument, (argument.start, argument.stop, argument.step)))
        if isinstance(argument, tuple):
            elements = map(self._argument, argument)
            return type(argument)(*elements) if hasattr(argument, "_fields") else tuple(elements)
        if isinstance(argument, list):
            return [self._argument(each) for each in argument]
        if isinstance(argument, dict):
            return {key: self._argument(each) for key, each in argument.items()}
        return argument

    def _steps(self, node: Node) -> list[Step] | None:
        """What a program computes for a node, or None. A flattened value waits for those who use
        it, because it must not leave the segment."""
        if flattened_mean(node) is not None and all(map(self._is_called_once, users(node))):
            self._flattened[node] = self._call(node)
            return []
        source = linear_operand(node)
        if source is None or not self._is_called_once(node):
            step = self._step(node)
            return None if step is None else [step]
        linear = self._step_of("layer", (source,), node)
        if source not in self._flattened:
            return [linear]
        operand = flattened_mean(source)
        assert operand is not None
        call = self._flattened[source]
        return [Step("flatten", (self._numbers[operand],), call), linear]

    def _step(self, node: Node) -> Step | None:
        """The same for one that is one step."""
        if not node.users:
            return None
        operands = layer_operands(node)
        if operands is not None and self._is_called_once(node):
            return self._step_of("layer", operands, node)
        operands = mean_operands(node)
        if operands is not None:
            return self._step_of("mean", operands, node)
        operands = product_operands(node)
        return None if operands is None else self._step_of("product", operands, node)

    def _is_called_once(self, node: Node) -> bool:
        return self._calls[node.meta["module"]] == 1

    def _step_of(self, kind: Any, operands: tuple[Node, ...], node: Node) -> Step:
        return Step(kind, tuple(self._numbers[each] for each in operands), self._call(node))

    def _segments(self, found: list[list[Step] | Call], result: Any) -> list[Segment | Call]:
        """Of runs of steps with a layer among them; others stay calls."""
        uses = Counter(values_in(result))
        for each in found:
            for call in [each] if isinstance(each, Call) else [step.call for step in each]:
                uses.update(_used(call))
        contents: list[Segment | Call] = []
        for each in found:
            if isinstance(each, Call):
                contents.append(each)
            elif any(step.kind == "layer" for step in each):
                contents.append(_segment(each, uses))
            else:
                contents += [step.call for step in each]
        return contents

    def _codes(self, layers: set[str], called: list[nn.Module]) -> tuple[Code, ...]:
        """Of all modules whose code runs no more: of ``called`` it does, of a layer that no step
        names it never did."""
        in_steps = {
            node.meta["module"]
            for node in self._graph.nodes
            if node.op == "call_module" and node.meta["module"] not in called
        }
        others = {each for module in called for each in module.modules()} - in_steps
        reader = Reader()
        return tuple(
            reader.code_of(module, name)
            for module, name in self._names.items()
            if module not in others and name not in layers and not isinstance(module, PackedLayer)
        )


def _used(call: Call) -> list[int]:
    return [*values_in(call.args), *values_in(call.kwargs)]


def _segment(steps: list[Step], uses: Counter[int]) -> Segment:
    """``uses`` tells how often each value is used in all."""
    made = [step.call.result for step in steps]
    inside = Counter(number for step in steps for number in _used(step.call))
    inputs = tuple(number for number in inside if number not in made)
    outputs = tuple(number for number in made if uses[number] > inside[number])
    return Segment(tuple(steps), inputs, outputs)


def _parts(contents: list[Segment | Call], result: Any) -> tuple[Part, ...]:
    """Each content with the values that it is the last to use."""
    seen = set(values_in(result))
    parts: list[Part] = []
    for content in reversed(contents):
        used = content.inputs if isinstance(content, Segment) else _used(content)
        made = content.outputs if isinstance(content, Segment) else (content.result,)
        released = {*used, *made} - seen
        seen |= released
        parts.append(Part(content, tuple(sorted(released))))
    return tuple(parts[::-1])

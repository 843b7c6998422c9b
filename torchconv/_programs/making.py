"""Makes a program of C++ of a segment.

Geometry and packed weight of each layer are those of its last call, if that was such a call.
"""

import sys
import weakref
from typing import Any

import torch
from torch import Tensor
from torch._C import _DisableTorchDispatch

from torchconv import _winograd
from torchconv._activations.function import activation_number
from torchconv._kept_weights import KeptWeights, unwatched
from torchconv._operators.results import output_size
from torchconv._programs.recipe import Segment, Step
from torchconv._programs.watch import NotNow, Watch

_operators = torch.ops.torchconv
_drop = _operators._program_drop.default._op
_CHANNELS_LAST = 1  # in the last number of a geometry


class Handle:
    """A program of C++, which ends with this object."""

    def __init__(self) -> None:
        self.number = _operators._program_new()
        self._weights: list[KeptWeights] = []
        weakref.finalize(self, _end, self.number, self._weights).atexit = False

    def refers_to(self, kept: KeptWeights, references: int) -> None:
        kept.references = references
        self._weights.append(kept)


def _end(number: int, weights: list[KeptWeights]) -> None:
    """Called wherever a module happens to end, inside of other people's modes, too."""
    with _DisableTorchDispatch():
        _drop(number)
    for kept in weights:
        kept.references = None


def made(segment: Segment, watch: Watch, inputs: list[Tensor]) -> tuple[Handle, int]:
    """The program and the bytes that it keeps.

    Raises:
        NotNow: the last call of a layer was another one.
        RuntimeError: a program cannot compute the segment.
    """
    making = _Making(segment, watch, inputs)
    for number, example in zip(segment.inputs, inputs, strict=True):
        making.add_input(number, example)
    for step in segment.steps:
        making.add(step)
    return making.handle, making.finish()


class _Making:
    def __init__(self, segment: Segment, watch: Watch, inputs: list[Tensor]) -> None:
        self.handle = Handle()
        self._segment = segment
        self._watch = watch
        self._dtype = inputs[0].dtype
        self._sizes: dict[int, tuple[int, ...]] = {}
        self._numbers: dict[int, int] = {}  # of values, as C++ counts them

    def add_input(self, number: int, example: Tensor) -> None:
        self._sizes[number] = (*example.shape, 1, 1)[:4]  # of a matrix, too
        last = self._is_channels_last(number)
        self._numbers[number] = _operators._program_input(self.handle.number, example, last)

    def _is_channels_last(self, number: int) -> bool:
        """Whether the first layer that reads a value wants it so, as means and products do."""
        for step in self._segment.steps:
            if step.kind == "layer" and number in step.operands:
                _, _, packed = self._watch.layers[str(step.call.target)]
                return bool(packed.result[0][-1] & _CHANNELS_LAST)
        return True

    def add(self, step: Step) -> None:
        size = self._sizes[step.operands[0]]
        operands = [self._numbers[number] for number in step.operands]
        if step.kind == "layer":
            number, size = self._add_layer(str(step.call.target), operands, size)
        elif step.kind == "flatten":
            (number,) = operands  # what the layers after it read is in the same place
        elif step.kind == "mean":
            number, size = (
                _operators._program_mean(self.handle.number, *operands),
                (*size[:2], 1, 1),
            )
        else:
            number = _operators._program_multiply(self.handle.number, *operands)
        self._numbers[step.call.result] = number
        self._sizes[step.call.result] = size

    def _add_layer(
        self, name: str, operands: list[int], size: tuple[int, ...]
    ) -> tuple[int, tuple[int, ...]]:
        layer, kept, packed = self._watch.layers[name]
        geometry, packed_weight = packed.result
        self._compare(layer, packed.call, size)
        weight = unwatched(layer._parameters, "weight")
        bias = unwatched(layer._parameters, "bias")
        references = sys.getrefcount(weight)
        number = _operators._program_conv2d(
            self.handle.number, operands[0], operands[1] if len(operands) > 1 else -1,
            weight, bias, packed_weight, geometry, activation_number(layer.activation),
            layer.slope,
        )  # fmt: skip
        self.handle.refers_to(kept, sys.getrefcount(weight) - references)
        weight_size = (*weight.shape, 1, 1)[:4]  # of a linear layer, too
        return number, tuple(output_size(size, weight_size, geometry))

    def _compare(self, layer: Any, call: tuple[Any, ...], size: tuple[int, ...]) -> None:
        """Refuses a layer whose last call was not one of those that the program stands for."""
        mode = layer.winograd
        flags = _winograd.CHOSEN.get() if mode is None else _winograd.flags(mode)
        options = layer.stride, layer.padding, layer.dilation, layer.groups
        last_size, _, *rest = call
        if tuple(last_size) != size or rest != [
            self._dtype, options, flags, torch.get_num_threads(),
        ]:  # fmt: skip
            raise NotNow

    def finish(self) -> int:
        outputs = [self._numbers[number] for number in self._segment.outputs]
        return _operators._program_finish(self.handle.number, outputs)

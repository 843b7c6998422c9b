"""A segment as a program of C++, which is made when the segment runs for the first time."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from torchconv._operators import below
from torchconv._programs.call import can_be_input, signature
from torchconv._programs.making import Handle, made
from torchconv._programs.recipe import Segment
from torchconv._programs.watch import NotNow, Watch

_run = below.below(torch.ops.torchconv._program_run.default)

Values = list[Any]
Run = Callable[[Values], None]


class LinkedSegment:
    """A part of a program. ``calls`` computes the same, call by call."""

    def __init__(self, segment: Segment, watch: Watch, calls: list[Run]) -> None:
        self.bytes = 0
        self.is_fit = True  # until the operators refuse it
        self._segment = segment
        self._watch: Any = watch  # until it is linked
        self._calls = calls
        self._handle: Handle | None = None
        self._signatures: list[Any] = []

    def link(self, values: Values) -> bool:
        """Computes the segment and, if it can, makes the program of it."""
        inputs = [values[number] for number in self._segment.inputs]
        try:
            if not all(map(can_be_input, inputs)):
                raise NotNow
            with torch.no_grad():
                handle, self.bytes = made(self._segment, self._watch, inputs)
        except NotNow:
            linked = False
        except RuntimeError:  # something that a program cannot compute
            linked = self.is_fit = False
        else:
            self._handle, self._signatures = handle, [*map(signature, inputs)]
            self._watch = None
            return self.run(values)
        self._run_calls(values)
        return linked

    def run(self, values: Values) -> bool:
        """Computes the segment; returns whether the program did."""
        inputs = [values[number] for number in self._segment.inputs]
        results: Sequence[Tensor] = ()
        if all(map(can_be_input, inputs)) and [*map(signature, inputs)] == self._signatures:
            results = self._results(inputs)
        if not results:
            self._run_calls(values)
            return False
        for number, result in zip(self._segment.outputs, results, strict=True):
            values[number] = result
        return True

    def _results(self, inputs: list[Tensor]) -> Sequence[Tensor]:
        """Empty if the program is of other threads, another instruction set or other memory."""
        try:
            return _run(self._handle.number, inputs)  # type: ignore[union-attr]
        except RuntimeError:  # there is no memory for all that it keeps
            return ()

    def _run_calls(self, values: Values) -> None:
        for call in self._calls:
            call(values)

"""The forward of a module that has a recipe: runs a program, or the module's own forward."""

import threading
import weakref
from types import MethodType
from typing import Any

from torch import nn
from torch.compiler import is_dynamo_compiling

from torchconv._programs.call import Key, key_of
from torchconv._programs.program import Program
from torchconv._programs.recipe import Recipe
from torchconv._programs.watch import NotNow

_MOST_REFUSED = 64  # keys that are remembered
_LONGEST_WAIT = 8  # calls


class Shortcut:
    """An attribute of one module; copies of the module, files too, have one of their own.

    It refers to the module weakly: in a cycle, a model's memory would wait for the garbage
    collector.
    """

    def __init__(self, module: nn.Module, recipe: Recipe) -> None:
        self._module = weakref.ref(module)
        self.recipe = recipe
        self.runs = 0  # of programs
        self._program: Program | None = None
        self._last: Key | None = None
        self._refused: set[Key] = set()  # no program can be made for these
        self._wait = self._next_wait = 0  # calls before making one is tried again
        self._lock = threading.Lock()  # of who makes one

    def __reduce__(self) -> tuple[Any, ...]:
        return Shortcut, (self._of(), self.recipe)

    @property
    def __wrapped__(self) -> Any:
        """The forward that it stands for: whoever asks for its arguments and its code sees that."""
        module = self._of()
        return MethodType(type(module).forward, module)

    @property
    def __code__(self) -> Any:
        return self.__wrapped__.__code__

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        module = self._of()
        if not is_dynamo_compiling() and not named:
            key = key_of(arguments, self.recipe.arguments)
            if key is not None:
                result = self._result(module, key, arguments)
                if result is not None:
                    return result[0]
        return type(module).forward(module, *arguments, **named)

    def _result(self, module: nn.Module, key: Key, arguments: tuple[Any, ...]) -> Any:
        """What a program returns, in a tuple, or None where none may run."""
        program = self._program
        if program is not None and not program.holds(module):
            program = self._program = self._last = None
        if program is not None and program.key == key:
            self._last = key
            return None if program.has_derivatives else self._run(program, arguments)
        program = None  # it ends before another one is made, which refers to the same weights
        if self._is_second(key) and self._lock.acquire(False):
            try:
                return self._make(module, key, arguments)
            finally:
                self._lock.release()
        return None

    def _of(self) -> nn.Module:
        module = self._module()
        if module is None:
            raise ReferenceError(
                "this module is a shallow copy (copy.copy) of an optimised one that is gone; "
                "call torchconv.optimize on the copy"
            )
        return module

    @property
    def bytes(self) -> int:
        """What its program keeps beside packed weights."""
        return 0 if self._program is None else self._program.bytes

    def _run(self, program: Program, arguments: tuple[Any, ...]) -> Any:
        result, all_ran = program.run(arguments)
        if all_ran:
            self.runs += 1
        else:
            self._program = self._last = None
        return (result,)

    def _is_second(self, key: Key) -> bool:
        """Whether a program should be made for a call, as the last one was like it."""
        second, self._last = key == self._last, key
        if second and self._wait > 0:
            self._wait -= 1
            return False
        return second and key not in self._refused

    def _make(self, module: nn.Module, key: Key, arguments: tuple[Any, ...]) -> Any:
        """Makes a program with its first run; returns its result, in a tuple, or None."""
        self._program = None
        try:
            program = Program(module, self.recipe, key)
        except NotNow:
            self._wait_longer()
            return None
        if program.has_derivatives:
            return None
        result, all_ran = program.run(arguments, link=True)
        if all_ran:
            self._program = program
            self._next_wait = 0
            self.runs += 1
        elif program.is_fit:
            self._wait_longer()
        else:
            if len(self._refused) >= _MOST_REFUSED:
                self._refused.clear()
            self._refused.add(key)
        return (result,)

    def _wait_longer(self) -> None:
        """Whoever holds the weights, say, may go on doing so."""
        self._wait = self._next_wait
        self._next_wait = min(2 * self._next_wait + 1, _LONGEST_WAIT)


def shortcut_of(module: nn.Module) -> Shortcut | None:
    found = vars(module).get("forward")
    return found if isinstance(found, Shortcut) else None


def layers_in_one_call(model: nn.Module) -> set[nn.Module]:
    """The layers in the recipes of a model, where they still are."""
    found = set()
    for module in model.modules():
        shortcut = shortcut_of(module)
        for name in () if shortcut is None else shortcut.recipe.layers:
            try:
                found.add(module.get_submodule(name))
            except AttributeError:  # somebody has taken it out
                continue
    return found

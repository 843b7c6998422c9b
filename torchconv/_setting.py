"""A choice that holds for the process, and inside ``with`` blocks for their thread or task."""

from contextvars import ContextVar
from types import TracebackType
from typing import Generic, TypeVar

import torch
from torch.compiler import is_dynamo_compiling

Value = TypeVar("Value", str, int)

# Older compilers cannot read a context variable: they read what was chosen last, in any thread.
_COMPILER_READS_CONTEXT = torch.__version__ >= "2.14"  # compared as versions


class Setting(Generic[Value]):
    def __init__(self, name: str, default: Value) -> None:
        self._default = default  # of the process
        self._chosen: ContextVar[tuple[Value, ...]] = ContextVar(f"torchconv.{name}", default=())
        self._latest = default

    def get(self) -> Value:
        if not _COMPILER_READS_CONTEXT and is_dynamo_compiling():
            return self._latest
        blocks = self._chosen.get()
        return blocks[-1] if blocks else self._default

    def set(self, value: Value) -> None:
        """From now on in all threads, and for the rest of the block that this thread is in."""
        self._default = value
        blocks = self._chosen.get()
        self._choose((*blocks[:-1], value) if blocks else ())

    def begin_block(self, value: Value) -> None:
        self._choose((*self._chosen.get(), value))

    def end_block(self) -> None:
        self._choose(self._chosen.get()[:-1])

    def _choose(self, blocks: tuple[Value, ...]) -> None:
        self._chosen.set(blocks)
        self._latest = self.get()


class Block(Generic[Value]):
    """A value of a setting inside a ``with`` block, which may be entered again."""

    def __init__(self, setting: Setting[Value], value: Value) -> None:
        self._setting, self._value = setting, value

    def __enter__(self) -> None:
        self._setting.begin_block(self._value)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._setting.end_block()

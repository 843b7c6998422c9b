"""Which of Winograd's algorithms may compute 3x3 and 5x5 layers on the CPU.

The mode travels with each call, as flags in the last number of its geometry (csrc/library.cpp): a
backward pass and a compiled graph keep what was in force for their forward pass.
"""

import os
from typing import Literal

from torchconv._operators import load
from torchconv._setting import Block, Setting

Winograd = Literal["auto", "f2", "off"]

ENVIRONMENT = "TORCHCONV_WINOGRAD"
_FLAGS = {"auto": 0, "f2": 64, "off": 32}


def _at_first() -> int:
    wanted = os.environ.get(ENVIRONMENT)
    if wanted and wanted not in _FLAGS:
        load.logger.warning(
            "%s=%s is none of %s; auto is used", ENVIRONMENT, wanted, ", ".join(_FLAGS)
        )
    return _FLAGS.get(wanted or "auto", 0)


CHOSEN: Setting[int] = Setting("winograd", _at_first())  # the flag, not its name


def flags(name: str) -> int:
    """The flag of a mode.

    Raises:
        ValueError: there is no such mode.
    """
    found = _FLAGS.get(name)
    if found is None:
        raise ValueError(f"winograd must be one of {tuple(_FLAGS)}, got {name!r}")
    return found


def set_winograd(name: Winograd) -> None:
    """Chooses whether Winograd's algorithms may compute layers, from now on, in all threads.

    Winograd's F(2x2, 3x3) and F(4x4, 3x3) compute blocks of 2x2 or 4x4 pixels of a 3x3 layer with
    2.25 or 4 times fewer multiplications, F(2x2, 5x5) blocks of 2x2 pixels of a 5x5 layer with 2.8
    times fewer; 3x3 layers with stride 2 have 1.8 times fewer. They round other numbers than the
    direct sum does, so that their results have other last bits and, above all those of F(4x4, 3x3)
    and F(2x2, 5x5), a larger rounding error. It is relative to the largest values in a block: near
    very large values, small ones are less accurate. An infinity or NaN of the input reaches all of
    its block.

    On the CPU only. A layer's attribute :attr:`torchconv.Conv2d.winograd` comes before what is set
    here. A backward pass runs what was in force for its forward pass. The environment variable
    ``TORCHCONV_WINOGRAD`` is the choice that a process begins with. Inside a
    ``with torchconv.winograd(...)`` block the choice also holds for the rest of that block.

    Args:
        name: ``'auto'`` (the default): torchconv chooses one of them or the direct sum, by the
            shape of an image, the dtype and the memory format alone. ``'f2'``: F(2x2, 3x3) or the
            direct sum. ``'off'``: always the direct sum.

    Raises:
        ValueError: there is no such mode.

    Example:
        >>> before = get_winograd()
        >>> set_winograd("off")
        >>> get_winograd()
        'off'
        >>> set_winograd(before)
    """
    CHOSEN.set(flags(name))


def get_winograd() -> str:
    """Returns the mode in use: that of the innermost block :class:`winograd`, if this thread or
    task is in one, or the one given to :func:`set_winograd`; by default ``'auto'``, or what the
    environment variable ``TORCHCONV_WINOGRAD`` says.
    """
    chosen = CHOSEN.get()
    return next(name for name, flag in _FLAGS.items() if flag == chosen)


class winograd(Block[int]):
    """Chooses the mode inside a ``with`` block, as :func:`set_winograd` does for good.

    A block counts for its own thread or asyncio task (it sets a ``contextvars.ContextVar``). A
    backward pass runs what was chosen for its forward pass.

    Example:
        >>> with winograd("off"):
        ...     get_winograd()
        'off'
    """

    def __init__(self, name: Winograd) -> None:
        super().__init__(CHOSEN, flags(name))

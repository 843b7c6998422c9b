"""Checkpoints that are either the old one or the new one, never half of one.

A file is written beside its final place, flushed to the disk, and only then renamed over the old
one. Everything in it is a tensor or a plain Python value, so it loads with `weights_only=True`.
"""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from examples import RunError


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for writing that appears under `path` only when the block has succeeded."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    if os.name == "posix":  # the rename itself reaches the disk with its directory
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def save(path: Path, state: dict[str, Any]) -> None:
    """Replaces the checkpoint; raises RunError where that fails, and then the old one remains."""
    try:
        with atomic_file(path) as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:
        # torch.save hides what went wrong while it wrote behind a RuntimeError of its own.
        hidden = error.__context__
        if isinstance(hidden, KeyboardInterrupt):
            raise hidden from None
        reason = hidden if isinstance(hidden, OSError) else error
        raise RunError(f"The checkpoint {path} could not be written ({reason}).") from error


def load(path: Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU; raises RunError where there is none or it is damaged."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise RunError(f"There is no checkpoint {path} to resume from.") from error
    except Exception as error:  # a damaged file can fail anywhere inside torch.load
        raise RunError(
            f"The checkpoint {path} is damaged or was not written by this program; "
            "start again without --resume."
        ) from error
    if not isinstance(state, dict) or "epoch" not in state:
        raise RunError(f"{path} is not a checkpoint of this program.")
    return state


def random_states() -> dict[str, Any]:
    """The states of every random generator that training draws from."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, [int(key) for key in keys], position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_states(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])

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


def temporary(path: Path) -> Path:
    """Where `atomic_file` collects what it writes; a killed process leaves it behind."""
    return path.with_name(f".{path.name}.tmp")


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for writing that appears under `path` only when the block has succeeded."""
    part = temporary(path)
    try:
        with open(part, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with suppress(FileNotFoundError):
            part.unlink()
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


def random_states(device: torch.device) -> dict[str, Any]:
    """The states of every random generator that training on `device` draws from."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    states = {
        "python": random.getstate(),
        "numpy": (name, [int(key) for key in keys], position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
    }
    if device.type != "cpu":
        states["device"] = {device.type: torch.get_device_module(device).get_rng_state(device)}
    return states


def set_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Continues where `random_states` was called; a device of another kind is left as it is."""
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    saved = states.get("device", {})
    if states.get("cuda"):  # older checkpoints hold the states of all CUDA devices there were
        saved = {"cuda": states["cuda"][device.index or 0]}
    if device.type in saved:
        torch.get_device_module(device).set_rng_state(saved[device.type], device)

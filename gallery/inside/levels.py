"""Runs functions in processes of their own, each with another instruction set of torchconv."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import torchconv  # noqa: F401  (registers the operators)
from benchmarks.machine import isa_levels

ROOT = Path(__file__).parents[2]


def available() -> tuple[str, ...]:
    """Those that this CPU has, the slowest first, without the one that differs in bfloat16 only."""
    return tuple(level for level in isa_levels() if level != "avx512_bf16")


def in_use() -> str:
    """That of this process."""
    return torch.ops.torchconv._isa()


def at_level(level: str, function: Callable, *arguments) -> Any:
    """What `function(*arguments)` returns in a new process with TORCHCONV_ISA=level.

    The function has to be one that the process can import: of a module, not of a script.

    Raises:
        subprocess.CalledProcessError: the CPU lacks the level, or the function failed; see stderr.
    """
    # Idle threads sleep: on a busy machine those that spin keep the others from their cores.
    idle = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive")}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    finished = subprocess.run(
        [sys.executable, "-m", "gallery.inside.levels"],
        input=pickle.dumps((function, arguments)),
        stdout=subprocess.PIPE,
        env={**os.environ, **idle, "PYTHONPATH": path, "TORCHCONV_ISA": level},
        cwd=ROOT,
        check=True,
    )
    return pickle.loads(finished.stdout)


if __name__ == "__main__":
    if in_use() != os.environ["TORCHCONV_ISA"]:
        sys.exit(f"no level {os.environ['TORCHCONV_ISA']!r} on this CPU: {in_use()!r} is in use")
    called, given = pickle.load(sys.stdin.buffer)
    sys.stdout.buffer.write(pickle.dumps(called(*given)))

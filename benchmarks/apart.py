"""Times two callables in turn, each in a process of its own.

In one process the sides share a heap, and what one of them gives back to the system or leaves
behind decides what the other pays for its memory. A user runs one of them.
"""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import torch

from torchconv._timing import Pairs

Make = Callable[[], Callable[[], object]]  # what to time; both can be pickled

WARM_UP = 3  # calls, after which the heap has found its size
PAUSE_SECONDS = 0.005  # before each call: threads of the other process go to sleep


def measure_apart(ours: Make, theirs: Make, budget: float, min_pairs: int = 5) -> Pairs:
    """As `torchconv._timing.measure_pairs`, of what these return in their processes."""
    sides = _Side(ours), _Side(theirs)  # which get ready at the same time
    with sides[0] as our_side, sides[1] as their_side:
        pairs = Pairs([], [])
        end = time.monotonic() + budget
        while len(pairs.ours) < min_pairs or time.monotonic() < end:
            pairs.ours.append(our_side.seconds())
            pairs.theirs.append(their_side.seconds())
        return pairs


class _Side:
    """A process that waits to be asked for the seconds of a call."""

    def __init__(self, make: Make):
        spawn = multiprocessing.get_context("spawn")  # a copy would have the heap of this process
        self._pipe, theirs = spawn.Pipe()
        arguments = (theirs, make, torch.get_num_threads())
        self._process = spawn.Process(target=_answer, args=arguments, daemon=True)
        self._process.start()
        theirs.close()  # so that its end is the end of the pipe

    def __enter__(self) -> _Side:
        self.seconds()  # once it is ready
        return self

    def __exit__(self, *_) -> None:
        self._pipe.close()
        self._process.join()

    def seconds(self) -> float:
        time.sleep(PAUSE_SECONDS)
        try:
            self._pipe.send(None)
            return self._pipe.recv()
        except (EOFError, OSError) as error:
            raise RuntimeError("the process that was measured has ended") from error


def _answer(pipe: Connection, make: Make, threads: int) -> None:
    torch.set_num_threads(threads)
    call = make()
    for _ in range(WARM_UP):
        call()
    gc.disable()
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        start = time.perf_counter()
        call()
        pipe.send(time.perf_counter() - start)

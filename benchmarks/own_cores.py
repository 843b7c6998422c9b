"""Measures again what was measured while threads shared a core.

The processors of a virtual machine may lie on one core of the machine below it, for a moment or for
minutes. Two threads then have one thread's peak, a thread that waits takes from one that computes,
and ratios of times tell about that. Nothing in the system shows it but the peak.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch

from benchmarks.machine import fma_peak

Measured = TypeVar("Measured")

SHARED = 0.75  # of the peak that there may be; two threads on one core have half of it
PAUSE_SECONDS = 0.25
LONGEST_WAIT = 30.0  # seconds, for one measurement and the first time
ATTEMPTS = 5


class OwnCores:
    """What the peak of all threads was while each had a core of its own."""

    def __init__(self, peak: Callable[[int], float], pause: Callable[[float], None] = time.sleep):
        """``peak(threads)`` measures in GF/s."""
        self._peak, self._pause, self._best = peak, pause, 0.0
        self.again = 0  # measurements that were repeated
        self.shared = 0  # that stayed as they were

    def _are_own(self) -> bool:
        now = self._peak(torch.get_num_threads())
        self._best = max(self._best, now)
        return now >= SHARED * self._best

    def _wait(self, done: Callable[[], bool]) -> bool:
        for _ in range(round(LONGEST_WAIT / PAUSE_SECONDS)):
            if done():
                return True
            self._pause(PAUSE_SECONDS)
        return False

    def _find_best(self) -> None:
        """The peak of so many single threads, or what there is of it: more threads than cores, or a
        clock that falls with each of them, leave less."""
        wanted = SHARED * torch.get_num_threads() * self._peak(1)
        self._wait(lambda: self._are_own() and self._best >= wanted)

    def measure(self, measure: Callable[[], Measured]) -> Measured:
        """What ``measure`` returns once the threads had their own cores before and after it."""
        if not self._best:
            self._find_best()
        for attempt in range(ATTEMPTS):
            self.again += attempt > 0
            came = self._wait(self._are_own)
            measured = measure()
            if not came:
                break
            if self._are_own():
                return measured
        self.shared += 1
        return measured

    def summary(self) -> str:
        return f"threads that shared a core: {self.again} measurements repeated, {self.shared} kept"


_cores = OwnCores(partial(fma_peak, torch.float32))


def measured(measure: Callable[[], Measured]) -> Measured:
    """What ``measure`` returns, of a moment in which threads had their own cores."""
    return _cores.measure(measure)


def summary() -> str:
    return _cores.summary()

"""Times several callables in turns, in an order that is drawn anew for each round."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

TURN_SECONDS = 0.02  # a turn of shorter calls is several: they find their own data in the caches
PAUSE_SECONDS = 0.005  # before a turn, in which the threads of the one before go to sleep
FEWEST_ROUNDS = 5


@dataclass(frozen=True)
class Turns:
    """Seconds of each call: by subject, then by round."""

    seconds: dict[str, list[list[float]]]

    def calls(self, name: str) -> list[float]:
        return [seconds for turn in self.seconds[name] for seconds in turn]

    def ratios(self, name: str, to: str) -> list[float]:
        """How many times as long one takes as another, round by round."""
        pairs = zip(self.seconds[name], self.seconds[to], strict=True)
        return [statistics.median(one) / statistics.median(other) for one, other in pairs]


def in_turns(calls: Mapping[str, Callable[[], object]], budget: float, seed: int = 0) -> Turns:
    """Runs all in turns for about `budget` seconds each, at least FEWEST_ROUNDS times.

    A first turn of each, in which it may still prepare something, does not count."""
    first = {name: _turn(call, TURN_SECONDS) for name, call in calls.items()}
    one_round = sum(map(sum, first.values())) + PAUSE_SECONDS * len(calls)
    rounds = max(FEWEST_ROUNDS, round(budget * len(calls) / one_round))
    order, shuffled = list(calls), random.Random(seed)
    turns = Turns({name: [] for name in calls})
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            shuffled.shuffle(order)
            for name in order:
                time.sleep(PAUSE_SECONDS)
                turns.seconds[name].append([_seconds(calls[name]) for _ in first[name]])
    finally:
        if collecting:
            gc.enable()
    return turns


def _turn(call: Callable[[], object], budget: float) -> list[float]:
    call()
    turn, end = [], time.perf_counter() + budget
    while not turn or time.perf_counter() < end:
        turn.append(_seconds(call))
    return turn


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start

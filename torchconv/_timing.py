"""Times two callables in turn and keeps the pairs, for ``compare`` and the benchmarks."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

SAMPLE_SECONDS = 2e-4  # shorter calls are timed several at a time
FEWEST_PAIRS = 3  # for calls so slow that the wanted number would take ten times the budget


@dataclass(frozen=True)
class Pairs:
    """Seconds per call of ours and theirs, measured one right after the other."""

    ours: list[float]
    theirs: list[float]

    @property
    def ratios(self) -> list[float]:
        return [theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=True)]

    @property
    def speedup(self) -> float:
        """Median of the paired ratios: above 1 torchconv is faster."""
        return statistics.median(self.ratios)

    @property
    def quartiles(self) -> tuple[float, float]:
        low, _, high = statistics.quantiles(self.ratios, n=4, method="inclusive")
        return low, high

    @property
    def our_seconds(self) -> float:
        return lower_quartile(self.ours)

    @property
    def their_seconds(self) -> float:
        return lower_quartile(self.theirs)


def lower_quartile(seconds: list[float]) -> float:
    """The time a quarter of the samples stayed below: steady where a neighbour steals the core."""
    return statistics.quantiles(seconds, n=4, method="inclusive")[0]


def measure_pairs(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    budget: float = 0.7,
    min_pairs: int = 7,
) -> Pairs:
    """Runs ours, theirs, ours, theirs, ... for about `budget` seconds, at least `min_pairs` times.

    Calls that would need more than ten budgets for `min_pairs` are measured three times."""
    once = [_seconds(call, 1) for call in (ours, theirs) for _ in range(2)]
    fastest, one_pair = min(once), min(once[:2]) + min(once[2:])
    calls = max(1, round(SAMPLE_SECONDS / fastest))
    wanted = max(min_pairs, round(budget / (calls * one_pair)))
    affordable = max(FEWEST_PAIRS, round(10 * budget / (calls * one_pair)))
    pairs = Pairs([], [])
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(min(wanted, affordable)):
            pairs.ours.append(_seconds(ours, calls))
            pairs.theirs.append(_seconds(theirs, calls))
    finally:
        if collecting:
            gc.enable()
    return pairs


def _seconds(call: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls

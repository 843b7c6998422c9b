"""The loop: rounds of random samples until a time is up, each with a seed of its own."""

from __future__ import annotations

import time

from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as with_seed

from tests.fuzz.checks import check
from tests.fuzz.samples import Sample, samples

ROUND = 200  # samples


def fuzz(seconds: float, seed: int, checked=check) -> tuple[int, str | None]:
    """How many samples were checked, and what is wrong with the smallest that fails, or None."""
    count, end = 0, time.monotonic() + seconds
    smallest: list[tuple[Sample, Exception]] = []

    def one(sample: Sample) -> None:
        nonlocal count
        if not smallest and time.monotonic() > end:
            return
        count += 1
        try:
            checked(sample)
        except Exception as error:
            smallest[:] = [(sample, error)]
            raise

    while time.monotonic() < end:

        @with_seed(seed)
        @settings(
            max_examples=ROUND,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
            verbosity=Verbosity.quiet,
            report_multiple_bugs=False,
        )
        @given(samples())
        def one_round(sample: Sample) -> None:
            one(sample)

        try:
            one_round()
        except Exception:
            sample, error = smallest[0]
            return count, f"{error}\n\n    {sample!r},"
        seed += 1
    return count, None

"""What was measured while threads shared a core is measured again."""

from __future__ import annotations

from itertools import chain, repeat

import pytest

from benchmarks.own_cores import ATTEMPTS, LONGEST_WAIT, PAUSE_SECONDS, OwnCores
from tests.reference import threads

WAITS = round(LONGEST_WAIT / PAUSE_SECONDS)


class Machine:
    """One thread has a peak of 100 GF/s, two have those given, the last one from then on."""

    def __init__(self, *peaks: float):
        self.peaks = chain(peaks, repeat(peaks[-1]))
        self.slept = self.measurements = 0

    def peak(self, count: int) -> float:
        return 100 if count == 1 else next(self.peaks)

    def sleep(self, seconds: float) -> None:
        assert seconds == PAUSE_SECONDS
        self.slept += 1

    def measure(self) -> int:
        self.measurements += 1
        return self.measurements


@pytest.fixture(autouse=True)
def two_threads():
    with threads(2):
        yield


def measured(machine: Machine) -> tuple[OwnCores, int]:
    cores = OwnCores(machine.peak, machine.sleep)
    return cores, cores.measure(machine.measure)


def test_measures_once_where_threads_have_their_cores():
    machine = Machine(190)
    cores, result = measured(machine)
    assert (result, machine.measurements, machine.slept) == (1, 1, 0)
    assert (cores.again, cores.shared) == (0, 0)


def test_waits_and_measures_again():
    # The first two peaks are of the search for the best; then before, after, and again.
    machine = Machine(100, 190, 100, 100, 190, 100, 190, 185)
    cores, result = measured(machine)
    assert (result, machine.measurements, machine.slept) == (2, 2, 3)
    assert (cores.again, cores.shared) == (1, 0)
    assert cores.summary() == "threads that shared a core: 1 measurements repeated, 0 kept"


def test_takes_a_machine_for_what_it_is():
    """With two threads on one core for good, or cores that slow each other down, it waits once."""
    machine = Machine(120)
    cores, result = measured(machine)
    assert (result, machine.slept) == (1, WAITS)
    assert cores.measure(machine.measure) == 2
    assert machine.slept == WAITS and (cores.again, cores.shared) == (0, 0)


def test_keeps_what_it_has_after_some_attempts():
    machine = Machine(190, *[190, 100] * ATTEMPTS)
    cores, result = measured(machine)
    assert (result, cores.again, cores.shared) == (ATTEMPTS, ATTEMPTS - 1, 1)


def test_does_not_wait_for_ever():
    machine = Machine(190, 100)
    cores, result = measured(machine)
    assert (result, machine.slept) == (1, WAITS)
    assert (cores.again, cores.shared) == (0, 1)

"""Two callables are timed in turn, each in a process of its own."""

from __future__ import annotations

import functools
import os
import time

import pytest

from benchmarks.apart import WARM_UP, measure_apart


def logged(path, name, seconds):
    """What to time: sleeps, and writes down where."""

    def call():
        with path.open("a") as file:
            file.write(f"{name} {os.getpid()}\n")
        time.sleep(seconds)

    return call


def failing():
    raise MemoryError("no room for the model")


def test_sides_take_turns_in_processes_of_their_own(tmp_path):
    path = tmp_path / "calls"
    pairs = measure_apart(
        functools.partial(logged, path, "ours", 0.01),
        functools.partial(logged, path, "theirs", 0.03),
        budget=0.01,
        min_pairs=4,
    )
    assert len(pairs.ours) == len(pairs.theirs) == 4
    assert min(pairs.ours) >= 0.01 and min(pairs.theirs) >= 0.03 and pairs.speedup > 1.5
    names, processes = zip(*(line.split() for line in path.read_text().splitlines()), strict=True)
    assert names.count("ours") == names.count("theirs") == WARM_UP + 1 + 4
    assert names[-8:] == ("ours", "theirs") * 4
    assert len({*processes, str(os.getpid())}) == 3


def test_a_side_that_fails_is_told(capfd):
    with pytest.raises(RuntimeError, match="has ended"):
        measure_apart(failing, failing, budget=0.01)
    assert "no room for the model" in capfd.readouterr().err

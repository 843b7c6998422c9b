"""Several callables, timed in turns."""

from __future__ import annotations

import time
from functools import partial
from itertools import islice

from benchmarks.turns import FEWEST_ROUNDS, TURN_SECONDS, in_turns


def test_turns_are_of_all_in_new_orders():
    order = []

    def call(name):
        time.sleep(TURN_SECONDS / 2.5)
        order.append(name)

    turns = in_turns({name: partial(call, name) for name in "abc"}, budget=1e-6)
    lengths = [len(rounds[0]) for rounds in turns.seconds.values()]
    assert {len(rounds) for rounds in turns.seconds.values()} == {FEWEST_ROUNDS}
    assert all(1 < length <= 3 for length in lengths)  # calls are shorter than a turn
    timed = iter(order[-sum(lengths) * FEWEST_ROUNDS :])
    rounds = [tuple(dict.fromkeys(islice(timed, sum(lengths)))) for _ in range(FEWEST_ROUNDS)]
    assert len(set(rounds)) > 1 and all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert all(TURN_SECONDS / 2.5 <= seconds < 0.5 for seconds in turns.calls("a"))

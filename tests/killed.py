"""Kills a training run again and again, resumes it, and compares it with one left in peace.

    python -m tests.killed --kills 20 --data mnist-5k --limit 640 --epochs 8

The kill is a SIGKILL at a random moment: while it starts, trains, tests, writes a checkpoint or
draws its pictures. Everything after `--kills` and `--seed` goes to the training program.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from examples.training import checkpoint, folder
from tests.examples import forked
from tests.examples.training import measurements

# All that a checkpoint has to keep.
EVERYTHING = (
    "--data digits --limit 96 --epochs 12 --device cpu --ema 0.9 --patience 11 --clip-norm 1 "
    "--label-smoothing 0.1 --warmup 1 --schedule cosine --workers 0"
).split()


def kill_and_resume(place: Path, options: list[str], kills: int, seed: int) -> list[str]:
    """Trains in `place`/whole and, killed so many times, in `place`/parts.

    Returns for each kill what had been reached; raises AssertionError where the two differ.
    """
    whole, parts, output = (place / name for name in ("whole", "parts", "output"))
    assert forked.Forked(output, int).wait() == 0  # the server has imported everything now
    start = time.time()
    peaceful = forked.program(output, *options, "--out", str(whole))
    assert peaceful.wait(600) == 0, peaceful.stderr
    takes = time.time() - start
    begins = (whole / folder.MARKER).stat().st_mtime - start
    trains = (whole / folder.METRICS).stat().st_mtime - start - begins
    rng, reached = random.Random(seed), []
    while True:
        again = ["--resume"] if (parts / folder.CHECKPOINT).exists() else [*options, "--overwrite"]
        before = _unfinished(parts)
        process = forked.program(output, *again, "--out", str(parts))
        if len(reached) == kills:
            assert process.wait(600) == 0, process.stderr
            break
        # Mostly while it starts or trains; then, when little is left to train, at any moment.
        soon = len(reached) < 0.8 * kills
        time.sleep(rng.uniform(0, begins + trains / 4 if soon else takes))
        if process.ended:  # nothing is left to kill but a run that is complete
            assert process.wait() == 0, process.stderr
            shutil.rmtree(parts)
            continue
        process.kill()
        reached.append(_reached(parts, before))
    assert_same(parts, whole)
    return reached


def _reached(run: Path, before: set[tuple[str, int]]) -> str:
    path = run / folder.CHECKPOINT
    epoch = checkpoint.load(path)["epoch"] if path.exists() else None  # a damaged one is an error
    words = "before the first checkpoint" if epoch is None else f"after epoch {epoch}"
    written = {name for name, _ in _unfinished(run) - before}
    return ", while writing ".join((words, *written))


def _unfinished(run: Path) -> set[tuple[str, int]]:
    return {(path.name, path.stat().st_mtime_ns) for path in run.glob(".*.tmp")}


def assert_same(one: Path, other: Path) -> None:
    """All that a run has written, bit for bit; of the logs what does not tell the time."""
    assert sorted(p.name for p in one.iterdir()) == sorted(p.name for p in other.iterdir())
    for name in (folder.CHECKPOINT, folder.BEST):
        states = [checkpoint.load(run / name) for run in (one, other)]
        for state in states:
            state.pop("seconds", None)
        a, b = ([_bytes(leaf) for leaf in tree_leaves(state)] for state in states)
        assert a == b, name
    assert measurements(one) == measurements(other)
    for name in (folder.PREDICTIONS, folder.OPTIONS, *folder.PICTURES[1:]):  # curves show seconds
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def _bytes(leaf: Any) -> Any:
    """A tensor as bytes, which tell -0 from 0; anything else as it is."""
    return leaf.numpy().tobytes() if isinstance(leaf, torch.Tensor) else leaf


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.killed", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options, rest = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as place:
        reached = kill_and_resume(Path(place), rest or EVERYTHING, options.kills, options.seed)
    for line in reached:
        print("killed", line)
    print(f"Killed {len(reached)} times, and the same bits as a run left in peace.")


if __name__ == "__main__":
    sys.exit(main())

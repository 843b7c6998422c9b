"""Trains LeNet or AlexNet: `python -m examples.train --help`, or with several processes
`torchrun --nproc-per-node 2 -m examples.train`.

The directory of a run holds metrics.jsonl, a TensorBoard log, predictions.csv, pictures, run.json,
which names them all, checkpoint.pt, which is written before the first epoch and after each one, and
best.pt, the weights with which most test images were right.
A run that was stopped continues with --resume as if nothing had happened: same weights, same
metrics, bit for bit.
"""

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from examples import RunError, presets
from examples import options as run_options
from examples.options import default_out, parse
from examples.training import checkpoint, computed, folder
from examples.training.learner import NAMES
from examples.training.metrics import MetricsLog
from examples.training.processes import Processes, join, meet, one_speaks
from examples.training.results import report
from examples.training.run import Run

BEFORE = "Stopped before training began; no run was changed."
STOPPING = (signal.SIGINT, signal.SIGTERM)

T = TypeVar("T")


class Stopped(Exception):
    """Ctrl-C or SIGTERM; says what is kept and how to go on."""


def main(argv: Sequence[str] | None = None) -> int:
    handlers = {number: signal.getsignal(number) for number in STOPPING}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        store = meet()
        with one_speaks(store):
            try:
                options, state = parse(argv)
                with join(options.device, store) as processes:
                    train(options, state, processes)
            except KeyboardInterrupt:
                raise Stopped(BEFORE) from None
        return 0
    except (RunError, OSError) as error:
        print(f"examples.train: {error}", file=sys.stderr)
        return 1
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 130
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def train(options: argparse.Namespace, state: dict[str, Any] | None, processes: Processes) -> None:
    if options.threads:
        torch.set_num_threads(options.threads)
    run = Run(options, processes)
    if state:
        run.load_state_dict(state)
    choose_directory(run)
    log, is_ours = None, state is not None
    try:
        log = processes.once(lambda: open_log(run, fresh=state is None))
        is_ours = True  # no checkpoint of an earlier run is in the directory any more
        if log:
            print(describe(run), flush=True)
            print(run.summary(), flush=True)
        if state is None:
            first_save(run)
        first_epoch = run.epoch + 1
        while not run.over:
            records = run.train_epoch(log)
            if log:
                log.flush()
            save(run)
            if log:
                print(summary(run, records), flush=True)
                if run.epoch == first_epoch:
                    tell_who_computed(records)
        if processes.first:
            report(run)
    except KeyboardInterrupt:
        for number in STOPPING:  # torchrun sends another one
            signal.signal(number, signal.SIG_IGN)
        raise Stopped(how_to_go_on(run, is_ours)) from None
    finally:
        if log:
            log.close()


def choose_directory(run: Run) -> None:
    """Gives a run without --out a new directory of its own."""
    options, processes = run.options, run.processes
    if options.out is None:
        out = processes.once(lambda: _writing(default_out(options), folder.claim))
        options.out = processes.gather(out)[0]


def open_log(run: Run, fresh: bool) -> MetricsLog:
    def prepare(out: Path) -> MetricsLog:
        if fresh:
            folder.prepare(out, run.options.overwrite)
            with checkpoint.atomic_file(out / folder.OPTIONS) as file:
                file.write(presets.to_yaml(run_options.to_save(run.options)).encode())
        else:
            folder.adopt(out)
        return MetricsLog(out, run.epoch, run.step)

    return _writing(run.options.out, prepare)


def _writing(out: Path, work: Callable[[Path], T]) -> T:
    try:
        return work(out)
    except OSError as error:
        raise RunError(f"Cannot write to {out} ({error}); choose another --out.") from error


def save(run: Run) -> None:
    """The best first: where a run ends between the two, its last epoch is repeated."""
    state = run.state_dict()
    if run.processes.first:
        if run.best_epoch == run.epoch:
            checkpoint.save(run.options.out / folder.BEST, run.best_state())
        checkpoint.save(run.options.out / folder.CHECKPOINT, state)


def first_save(run: Run) -> None:
    """No process starts before the checkpoint is there, so that each knows how to go on."""
    state = run.state_dict()
    path = run.options.out / folder.CHECKPOINT
    run.processes.once(lambda: checkpoint.save(path, state))


def describe(run: Run) -> str:
    options, processes = run.options, run.processes
    several = f" in {processes.size} processes" if processes.size > 1 else ""
    return (
        f"{options.model} with {' and '.join(NAMES[lr.conv] for lr in run.learners)}, "
        f"{run.sizes[0]} training and {run.sizes[1]} test images of {options.data}, "
        f"on {processes.device} with {torch.get_num_threads()} threads{several}; "
        f"results go to {options.out}"
    )


def summary(run: Run, records: list[dict[str, Any]]) -> str:
    """One line on the last epoch."""
    results = (
        f"{NAMES[r['conv']]}: loss {r['train_loss']:.4f}, accuracy {r['train_accuracy']:.2%}, "
        f"test {r['test_accuracy']:.2%}"
        for r in records
    )
    return f"epoch {run.epoch:2}/{run.options.epochs}  " + "   ".join(results)


def how_to_go_on(run: Run, is_ours: bool) -> str:
    """What is kept of a run that was stopped, and the command that continues it.

    `is_ours` tells whether a checkpoint can only be that of this run.
    """
    out: Path = run.options.out
    path = out / folder.CHECKPOINT
    if not path.exists():
        return f"Stopped before the first checkpoint; {out} holds no run, so start it again."
    if not is_ours:
        return BEFORE
    epoch = checkpoint.load(path)["epoch"]
    kept = f"{path} holds the run after epoch {epoch}"
    if epoch < run.epoch or not run.over:
        what = f"Stopped. {kept}; continue with:"
    else:
        what = f"Stopped after the last epoch. {kept}; draw the missing pictures with:"
    start = python()
    if run.processes.size > 1:
        start += f" -m torch.distributed.run --nproc-per-node {run.processes.size}"
    return f"{what}\n  {start} -m examples.train --resume --out {shlex.quote(str(out))}"


def python() -> str:
    """This interpreter, as one would type it here; `python` may be another one, or none."""
    path = os.path.relpath(sys.executable)
    return shlex.quote(sys.executable if path.startswith(os.pardir) else path)


def tell_who_computed(records: list[dict[str, Any]]) -> None:
    """Says so if it was not torchconv alone: accuracy and times are then PyTorch's, too."""
    for record in records:
        sentence = computed.describe(record["computed"]) if "computed" in record else None
        if sentence:
            print(sentence, flush=True)


if __name__ == "__main__":
    sys.exit(main())

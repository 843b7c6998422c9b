"""Trains LeNet or AlexNet: `python -m examples.train --help`, or with several processes
`torchrun --nproc-per-node 2 -m examples.train`.

The directory of a run holds metrics.jsonl, a TensorBoard log, curves.png, filters.png and
checkpoint.pt, which is written before the first epoch and after each one. A run that was stopped
continues with --resume as if nothing had happened: same weights, same metrics, bit for bit.
"""

import argparse
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from examples import RunError, checkpoint, plots
from examples.metrics import MetricsLog, compare, read_records
from examples.models import first_filters
from examples.options import parse
from examples.processes import Processes, join
from examples.run import Run

NAMES = {"torch": "nn.Conv2d", "torchconv": "torchconv.Conv2d"}
FILES = ("checkpoint.pt", "metrics.jsonl", "curves.png", "filters.png", "tensorboard")


def main(argv: Sequence[str] | None = None) -> int:
    terminate = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        options, state = parse(argv)
        with join(options.device) as processes:
            return train(options, state, processes)
    except (RunError, OSError) as error:
        print(f"examples.train: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped before training began; nothing was changed.", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, terminate)


def train(options: argparse.Namespace, state: dict[str, Any] | None, processes: Processes) -> int:
    if options.threads:
        torch.set_num_threads(options.threads)
    run = Run(options, processes)
    if state:
        run.load_state_dict(state)
    log = processes.once(lambda: open_log(run, fresh=state is None))
    if log:
        print(describe(run), flush=True)
    try:
        if state is None:
            save(run)
        while run.epoch < options.epochs:
            records = run.train_epoch(log)
            if log:
                log.flush()
            save(run)
            if log:
                print(summary(run, records), flush=True)
    except KeyboardInterrupt:
        if processes.first:
            print(how_to_resume(run), file=sys.stderr)
        return 130
    finally:
        if log:
            log.close()
    if processes.first:
        report(run)
    return 0


def open_log(run: Run, fresh: bool) -> MetricsLog:
    out = run.options.out
    try:
        out.mkdir(parents=True, exist_ok=True)
        if fresh:
            for path in map(out.joinpath, FILES):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        return MetricsLog(out, run.epoch, run.step)
    except OSError as error:
        raise RunError(f"Cannot write to {out} ({error}); choose another --out.") from error


def save(run: Run) -> None:
    state = run.state_dict()
    if run.processes.first:
        checkpoint.save(run.options.out / "checkpoint.pt", state)


def describe(run: Run) -> str:
    options, processes = run.options, run.processes
    several = f" in {processes.size} processes" if processes.size > 1 else ""
    return (
        f"{options.model} with {' and '.join(NAMES[lr.conv] for lr in run.learners)}, "
        f"{run.sizes[0]} training and {run.sizes[1]} test images of {options.data}, "
        f"on {processes.device} with {torch.get_num_threads()} threads{several}"
    )


def summary(run: Run, records: list[dict[str, Any]]) -> str:
    """One line on the last epoch."""
    results = (
        f"{NAMES[r['conv']]}: loss {r['train_loss']:.4f}, accuracy {r['train_accuracy']:.2%}, "
        f"test {r['test_accuracy']:.2%}"
        for r in records
    )
    return f"epoch {run.epoch:2}/{run.options.epochs}  " + "   ".join(results)


def how_to_resume(run: Run) -> str:
    path = run.options.out / "checkpoint.pt"
    epoch = checkpoint.load(path)["epoch"]
    several = f"torchrun --nproc-per-node {run.processes.size}"
    start = "python" if run.processes.size == 1 else several
    command = f"{start} -m examples.train --resume --out {shlex.quote(str(run.options.out))}"
    return f"Stopped. {path} holds the run after epoch {epoch}; continue with:\n  {command}"


def report(run: Run) -> None:
    """Draws the pictures and says how the run ended."""
    out: Path = run.options.out
    records = read_records(out / "metrics.jsonl")
    plots.draw_curves(records, NAMES, out / "curves.png")
    filters = {NAMES[lr.conv]: first_filters(lr.model) for lr in run.learners}
    plots.draw_filters(filters, out / "filters.png")
    if len(run.learners) == 2:
        ratio, difference = compare(records, "torch", "torchconv")
        print(
            f"A training step with torchconv.Conv2d is {ratio:.2f}x as fast as with nn.Conv2d "
            f"(median of {run.step} interleaved steps); their losses differ by at most "
            f"{difference:.2g}."
        )
    last = {r["conv"]: r["test_accuracy"] for r in records if r["kind"] == "epoch"}
    accuracy = ", ".join(f"{NAMES[conv]} {value:.2%}" for conv, value in last.items())
    print(
        f"Test accuracy {accuracy} after {run.epoch} epochs, {run.seconds:.1f} s; "
        f"see {out / 'curves.png'}, {out / 'filters.png'}, {out / 'metrics.jsonl'}"
    )


if __name__ == "__main__":
    sys.exit(main())

"""Runs of the training program, small enough for tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from examples import train
from examples.training import checkpoint, folder, results, run
from examples.training.learner import Learner
from examples.training.metrics import read_records

ROOT = Path(__file__).parents[2]
# A run whose learning rate does not depend on --epochs can be stopped by fewer of them.
SMALL = (
    "--data digits --limit 96 --epochs 4 --device cpu --schedule exponential --warmup 0"
).split()


class Tiny(nn.Module):
    """A network with a convolution and dropout that trains in no time."""

    image_size = 28

    def __init__(self, conv, channels, classes):
        super().__init__()
        self.conv = conv(channels, 4, kernel_size=3, stride=2)
        self.dropout = nn.Dropout(0.2)
        self.linear = nn.Linear(4 * 13 * 13, classes)

    def forward(self, x):
        return self.linear(self.dropout(self.conv(x).relu().flatten(1)))


draw = results.draw  # the real one


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Drawing takes longer than training here: the pictures are empty files, but for `draw`."""

    def touch(run, _):
        for name in folder.PICTURES:
            (run.options.out / name).touch()

    monkeypatch.setattr(results, "draw", touch)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(run.MODELS, "lenet", Tiny)


def start(out, *options):
    return train.main([*SMALL, "--out", str(out), *options])


def finish(out, *options):
    torch.manual_seed(999)  # nothing may hang on what the generators held before
    return train.main(["--resume", "--out", str(out), *options])


def weights(out, conv="torchconv"):
    return checkpoint.load(out / "checkpoint.pt")["learners"][conv]["model"]


def measurements(out):
    """All records without the times."""
    records = read_records(out / "metrics.jsonl")
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def bits(state):
    """The floats in a tree as integers, which tell -0 from 0."""
    return tree_map_only(
        torch.Tensor, lambda t: t.view(torch.int32) if t.is_floating_point() else t, state
    )


def assert_same_run(one, other):
    state, expected = (checkpoint.load(out / "checkpoint.pt") for out in (one, other))
    assert state["epoch"] == expected["epoch"] == 4
    assert state["learners"].keys() == expected["learners"].keys()
    for conv in expected["learners"]:
        assert state["learners"][conv].keys() == expected["learners"][conv].keys()
        for part in state["learners"][conv].keys() - {"scheduler"}:
            a, b = (bits(s["learners"][conv][part]) for s in (state, expected))
            torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert torch.equal(state["random"][0]["torch"], expected["random"][0]["torch"])
    assert measurements(one) == measurements(other)


def launch(*command, **options):
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
    }
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def interrupt_at(step: int, monkeypatch) -> None:
    """Ctrl-C in that step of the run that starts next."""
    steps, complete = [], Learner.step

    def interrupted(learner, images, labels):
        steps.append(1)
        if len(steps) == step:
            raise KeyboardInterrupt
        return complete(learner, images, labels)

    monkeypatch.setattr(Learner, "step", interrupted)

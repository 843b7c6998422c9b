"""The training program as a whole: exact resume, comparison, several processes, clear refusals."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from examples import checkpoint, run, train
from examples.learner import Learner
from examples.metrics import read_records

ROOT = Path(__file__).parents[1]
SMALL = ["--limit", "96", "--epochs", "4", "--device", "cpu"]


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


def assert_same_run(one, other):
    state, expected = (checkpoint.load(out / "checkpoint.pt") for out in (one, other))
    assert state["epoch"] == expected["epoch"] == 4
    assert state["learners"].keys() == expected["learners"].keys()
    for conv in expected["learners"]:
        for part in ("model", "optimizer"):
            a, b = (s["learners"][conv][part] for s in (state, expected))
            torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert torch.equal(state["random"][0]["torch"], expected["random"][0]["torch"])
    assert measurements(one) == measurements(other)


VARIANTS = {
    "torchconv": ["--conv", "torchconv"],
    "both": ["--conv", "both"],
    "sgd": ["--optimizer", "sgd", "--lr", "0.01"],
    "workers": ["--workers", "2"],
    "channels-last": ["--channels-last", "--amp"],
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_resumed_run_is_the_uninterrupted_one(tmp_path, variant):
    options = VARIANTS[variant]
    assert start(tmp_path / "whole", *options) == 0
    assert start(tmp_path / "parts", *options, "--epochs", "2") == 0
    assert finish(tmp_path / "parts", "--epochs", "4") == 0
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.parametrize("step", [1, 5])
def test_interrupt_in_the_middle_of_an_epoch(tmp_path, monkeypatch, capfd, step):
    assert start(tmp_path / "whole") == 0
    steps, complete = [], Learner.step

    def interrupted(learner, images, labels):
        steps.append(1)
        if len(steps) == step:
            raise KeyboardInterrupt
        return complete(learner, images, labels)

    monkeypatch.setattr(Learner, "step", interrupted)
    assert start(tmp_path / "parts") == 130
    message = capfd.readouterr().err
    epoch = (step - 1) // 3
    assert f"after epoch {epoch};" in message
    assert f"python -m examples.train --resume --out {tmp_path / 'parts'}" in message
    assert finish(tmp_path / "parts") == 0
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_interrupt_while_the_checkpoint_is_written(tmp_path, monkeypatch, capfd):
    """torch.save turns the interrupt into a RuntimeError of its own."""
    assert start(tmp_path / "whole") == 0
    calls, complete = [], torch.save

    class Interrupting:
        def __init__(self, file):
            self.file = file

        def write(self, content):
            if len(calls) == 3:
                raise KeyboardInterrupt
            return self.file.write(content)

        def flush(self):
            self.file.flush()

    def save(state, file):
        calls.append(1)
        complete(state, Interrupting(file))

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", save)
        assert start(tmp_path / "parts") == 130
    assert "after epoch 1; continue with" in capfd.readouterr().err
    assert finish(tmp_path / "parts") == 0
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_run_that_is_complete_can_be_resumed(tmp_path, capsys):
    assert start(tmp_path) == 0
    before = measurements(tmp_path)
    assert finish(tmp_path) == 0
    assert measurements(tmp_path) == before
    assert "after 4 epochs" in capsys.readouterr().out


def test_other_seed_gives_other_weights(tmp_path):
    assert start(tmp_path / "0") == start(tmp_path / "1", "--seed", "1") == 0
    zero, one = weights(tmp_path / "0"), weights(tmp_path / "1")
    assert not torch.equal(zero["conv.weight"], one["conv.weight"])


def test_both_convolutions_side_by_side(tmp_path, capsys):
    assert start(tmp_path, "--conv", "both") == 0
    out = capsys.readouterr().out
    speed = re.search(
        r"is (\d+\.\d+)x as fast.*median of 12 interleaved.*at most (\S+)\.$", out, re.M
    )
    assert speed and float(speed[1]) > 0 and float(speed[2]) < 1e-3
    assert re.search(r"Test accuracy nn\.Conv2d \S+%, torchconv\.Conv2d \S+% after 4 epochs", out)
    records = read_records(tmp_path / "metrics.jsonl")
    theirs, ours = ([r for r in records if r["conv"] == conv] for conv in ("torch", "torchconv"))
    assert len(theirs) == len(ours) == 12 + 4
    for a, b in zip(theirs, ours, strict=True):
        key = "loss" if a["kind"] == "step" else "test_loss"
        assert a[key] == pytest.approx(b[key], abs=1e-3)  # same weights, batches and dropout
    torch.testing.assert_close(weights(tmp_path), weights(tmp_path, "torch"), rtol=0, atol=1e-3)


def test_results_of_a_run(tmp_path, capsys):
    assert start(tmp_path) == 0
    names = {"checkpoint.pt", "metrics.jsonl", "curves.png", "filters.png", "tensorboard"}
    assert {path.name for path in tmp_path.iterdir()} == names
    for picture in ("curves.png", "filters.png"):
        with Image.open(tmp_path / picture) as image:
            assert len(image.convert("RGB").getcolors(1 << 24)) > 50
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        assert {"kind", "conv", "epoch", "step"} <= json.loads(line).keys()
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.match(r"Test accuracy torchconv\.Conv2d \S+% after 4 epochs, \S+ s; see ", last)
    assert str(tmp_path / "curves.png") in last


REFUSED = {
    "device": (["--device", "nonsense"], "The device 'nonsense' cannot be used"),
    "data": (["--data", "mnist", "--data-dir", "/nowhere"], "'mnist' is missing or damaged"),
    "divergence": (["--optimizer", "sgd", "--lr", "1e30"], "try a smaller --lr"),
    "nothing to resume": (["--resume"], "There is no checkpoint"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusal_is_one_sentence(tmp_path, capsys, case):
    options, words = REFUSED[case]
    assert start(tmp_path / "out", *options) == 1
    message = capsys.readouterr().err
    assert words in message and message.count("\n") == 1


def test_out_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("not a directory")
    assert start(tmp_path / "file" / "out") == 1
    message = capsys.readouterr().err
    assert "choose another --out" in message and message.count("\n") == 1


def test_full_disk_while_training(tmp_path, capsys, monkeypatch):
    assert start(tmp_path, "--epochs", "1") == 0

    def no_space(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", no_space)
        assert finish(tmp_path, "--epochs", "4") == 1
    message = capsys.readouterr().err
    assert "could not be written" in message and "No space left" in message
    assert finish(tmp_path, "--epochs", "4") == 0  # the checkpoint of epoch 1 is whole
    assert start(tmp_path / "whole") == 0
    assert_same_run(tmp_path, tmp_path / "whole")


def test_run_is_not_overwritten_unasked(tmp_path, capsys):
    assert start(tmp_path, "--epochs", "1") == 0
    before = (tmp_path / "checkpoint.pt").read_bytes()
    assert start(tmp_path) == 1
    assert "already holds a run" in capsys.readouterr().err
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert start(tmp_path, "--overwrite", "--seed", "1") == 0
    assert len(read_records(tmp_path / "metrics.jsonl")) == 12 + 4


def test_resume_refuses_other_settings(tmp_path, capsys):
    assert start(tmp_path, "--epochs", "1") == 0
    assert finish(tmp_path, "--batch-size", "16") == 1
    assert "has --batch-size 32, not 16" in capsys.readouterr().err


def launch(*command, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_with_a_checkpoint(tmp_path, sent):
    command = ["-m", "examples.train", *SMALL, "--epochs", "1000000", "--out", str(tmp_path)]
    with launch(*command) as process:
        while not process.stdout.readline().startswith("epoch"):
            assert process.poll() is None, process.stderr.read()
        process.send_signal(sent)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "continue with" in error and "Traceback" not in error
    saved = checkpoint.load(tmp_path / "checkpoint.pt")["epoch"]
    assert saved >= 1
    resume = shlex.split(error.splitlines()[-1])[1:]  # without "python"
    with launch(*resume, "--epochs", str(saved + 1)) as process:
        out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert f"after {saved + 1} epochs" in out


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="needs torch.distributed")
def test_two_processes_train_as_one(tmp_path, monkeypatch):
    monkeypatch.undo()  # the other processes know the real LeNet only
    options = [*SMALL, "--no-augment", "--epochs", "2"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    with launch(*torchrun, "-m", "examples.train", *options, "--out", str(tmp_path / "2")) as two:
        out, error = two.communicate(timeout=120)
    assert two.returncode == 0, error
    assert out.count("Test accuracy") == 1, "only the first process may report"
    assert train.main([*options, "--out", str(tmp_path / "1")]) == 0
    assert len(checkpoint.load(tmp_path / "2/checkpoint.pt")["random"]) == 2
    torch.testing.assert_close(weights(tmp_path / "2"), weights(tmp_path / "1"), rtol=0, atol=1e-4)
    pairs = list(zip(measurements(tmp_path / "2"), measurements(tmp_path / "1"), strict=True))
    assert len(pairs) == 2 * 3 + 2
    for a, b in pairs:
        assert a == pytest.approx(b, abs=1e-3)


@pytest.mark.slow
def test_lenet_learns_the_digits(tmp_path, monkeypatch):
    monkeypatch.undo()
    assert train.main(["--device", "cpu", "--out", str(tmp_path)]) == 0
    assert read_records(tmp_path / "metrics.jsonl")[-1]["test_accuracy"] >= 0.98

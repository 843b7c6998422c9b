"""A training run that is stopped or fails: what it says is true, and it can be continued."""

import os
import shlex
import signal

import pytest
import torch

from examples import predictions, train
from examples.training import checkpoint, folder, metrics, results, run
from examples.training.learner import Learner
from tests.examples.training import (
    assert_same_run,
    draw,
    finish,
    interrupt_at,
    no_pictures,  # noqa: F401
    start,
    tiny,  # noqa: F401
)
from torchconv import visualize


@pytest.mark.parametrize("step", [1, 5])
def test_interrupt_in_the_middle_of_an_epoch(tmp_path, monkeypatch, capfd, step):
    assert start(tmp_path / "whole") == 0
    interrupt_at(step, monkeypatch)
    assert start(tmp_path / "parts") == 130
    message = capfd.readouterr().err
    epoch = (step - 1) // 3
    assert f"after epoch {epoch};" in message
    assert f"python -m examples.train --resume --out {tmp_path / 'parts'}" in message
    assert finish(tmp_path / "parts") == 0
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.parametrize("place, epoch", [(2, 0), (3, 0), (4, 1)], ids=["best", "last", "second"])
def test_interrupt_while_a_checkpoint_is_written(tmp_path, monkeypatch, capfd, place, epoch):
    """torch.save turns the interrupt into a RuntimeError of its own."""
    assert start(tmp_path / "whole") == 0
    calls, complete = [], torch.save

    class Interrupting:
        def __init__(self, file):
            self.file = file

        def write(self, content):
            if len(calls) == place:
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
    assert f"after epoch {epoch}; continue with" in capfd.readouterr().err
    assert finish(tmp_path / "parts") == 0
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_interrupt_before_training(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(run, "load", interrupt)
    assert start(tmp_path / "out") == 130
    assert capfd.readouterr().err == "Stopped before training began; no run was changed.\n"
    assert not (tmp_path / "out").exists()


def test_interrupt_before_an_earlier_run_is_replaced(tmp_path, monkeypatch, capfd):
    assert start(tmp_path) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr(folder, "mark", interrupt)
    assert start(tmp_path, "--overwrite", "--seed", "1") == 130
    assert capfd.readouterr().err == "Stopped before training began; no run was changed.\n"
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("place", [(metrics.MetricsLog, "__init__"), (checkpoint, "save")])
def test_interrupt_when_an_earlier_run_is_gone(tmp_path, monkeypatch, capfd, place):
    assert start(tmp_path, "--epochs", "1") == 0
    with monkeypatch.context() as patched:
        patched.setattr(*place, interrupt)
        assert start(tmp_path, "--overwrite", "--seed", "1") == 130
    message = capfd.readouterr().err
    assert message == (
        f"Stopped before the first checkpoint; {tmp_path} holds no run, so start it again.\n"
    )
    assert start(tmp_path) == 0


def test_interrupt_while_testing(tmp_path, monkeypatch, capfd):
    assert start(tmp_path / "whole") == 0
    calls, complete = [], Learner.finish_epoch

    def interrupted(learner, batches):
        calls.append(1)
        if len(calls) == 2:
            next(iter(batches))
            raise KeyboardInterrupt
        return complete(learner, batches)

    monkeypatch.setattr(Learner, "finish_epoch", interrupted)
    assert start(tmp_path / "parts") == 130
    assert "after epoch 1; continue with" in capfd.readouterr().err
    assert finish(tmp_path / "parts") == 0
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.parametrize(
    "place",
    [(visualize, "curves"), (visualize, "confusion"), (predictions, "write"), (results, "wrong")],
)
def test_interrupt_while_the_results_are_drawn(tmp_path, monkeypatch, capfd, place):
    assert start(tmp_path / "whole") == 0
    monkeypatch.setattr(results, "draw", draw)
    with monkeypatch.context() as patched:
        patched.setattr(*place, interrupt)
        assert start(tmp_path / "parts") == 130
    message, command = capfd.readouterr().err.splitlines()
    assert message.startswith("Stopped after the last epoch.")
    assert "after epoch 4; draw the missing pictures with:" in message
    assert train.main(shlex.split(command)[3:]) == 0
    assert {path.name for path in (tmp_path / "parts").iterdir()} >= set(folder.RESULTS)
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.parametrize("again", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_does_not_hide_the_message(tmp_path, monkeypatch, capfd, again):
    """torchrun passes Ctrl-C on to processes that have got it already."""
    tell = train.how_to_go_on

    def interrupted(*arguments):
        os.kill(os.getpid(), again)
        return tell(*arguments)

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setattr(train, "how_to_go_on", interrupted)
    monkeypatch.setattr(Learner, "step", interrupt)
    assert start(tmp_path) == 130
    assert "after epoch 0; continue with" in capfd.readouterr().err
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_interrupt_while_a_file_reaches_the_disk(tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "c.pt", {"epoch": 3})
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path / "c.pt", {"epoch": 4})
    assert checkpoint.load(tmp_path / "c.pt")["epoch"] == 3
    assert os.listdir(tmp_path) == ["c.pt"]

"""What the training program refuses: one sentence each, and what a run has written stays."""

import pytest
import torch

from examples.training import checkpoint
from examples.training.metrics import read_records
from tests.examples.training import (
    assert_same_run,
    finish,
    no_pictures,  # noqa: F401
    start,
    tiny,  # noqa: F401
)


def test_run_of_an_older_version_is_refused(tmp_path, capsys):
    assert start(tmp_path) == 0
    state = checkpoint.load(tmp_path / "checkpoint.pt")
    del state["options"]["schedule"]
    checkpoint.save(tmp_path / "checkpoint.pt", state)
    assert finish(tmp_path) == 1
    assert "older version of this program" in capsys.readouterr().err


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

"""Both convolutions side by side, and who computed: torchconv or PyTorch."""

import re

import pytest
import torch

import torchconv
from examples.training.metrics import read_records
from tests.examples.training import (
    finish,
    no_pictures,  # noqa: F401
    start,
    tiny,  # noqa: F401
    weights,
)


def test_both_convolutions_side_by_side(tmp_path, capsys):
    assert start(tmp_path, "--conv", "both") == 0
    out = capsys.readouterr().out
    speed = re.search(
        r"is (\d+\.\d+)x as fast.*: (\d+) batches per second, not (\d+) "
        r"\(median of 12 interleaved steps\).*at most (\S+)\.$",
        out,
        re.M,
    )
    assert speed and float(speed[1]) > 0 and float(speed[4]) < 1e-3
    assert re.search(
        r"Test accuracy nn\.Conv2d \S+%, torchconv\.Conv2d \S+% .* after 4 epochs", out
    )
    records = read_records(tmp_path / "metrics.jsonl")
    theirs, ours = ([r for r in records if r["conv"] == conv] for conv in ("torch", "torchconv"))
    assert len(theirs) == len(ours) == 12 + 4
    for a, b in zip(theirs, ours, strict=True):
        key = "loss" if a["kind"] == "step" else "test_loss"
        assert a[key] == pytest.approx(b[key], abs=1e-3)  # same weights, batches and dropout
    torch.testing.assert_close(weights(tmp_path), weights(tmp_path, "torch"), rtol=0, atol=1e-3)


ALL_BY_PYTORCH = "PyTorch computes all 2 convolutions of a training step with torchconv.Conv2d"


@pytest.mark.parametrize("conv", ["torchconv", "both"])
def test_who_computed_is_told(tmp_path, capsys, conv):
    with torchconv.backend("aten"):
        assert start(tmp_path, "--conv", conv) == 0
    out = capsys.readouterr().out
    assert out.count(f"{ALL_BY_PYTORCH}, gradients included (the backend is 'aten').\n") == 1
    assert "x as fast" not in out
    if conv == "both":
        told = r"not measured, because PyTorch computed both; their losses differ by at most 0\.$"
        assert re.search(told, out, re.M)
    assert start(tmp_path / "ours", "--conv", "torchconv") == 0
    assert "PyTorch" not in capsys.readouterr().out


def test_speed_counts_only_what_torchconv_computed(tmp_path, capsys):
    with torchconv.backend("aten"):
        assert start(tmp_path, "--conv", "both", "--epochs", "1") == 0
    assert finish(tmp_path, "--epochs", "3") == 0
    assert "(median of 6 interleaved steps)" in capsys.readouterr().out
    with torchconv.backend("aten"):
        assert finish(tmp_path, "--epochs", "4") == 0
    out = capsys.readouterr().out
    assert ALL_BY_PYTORCH in out and "(median of 6 interleaved steps)" in out


def test_parts_that_pytorch_computed_are_told(tmp_path, capsys, monkeypatch):
    """As on a GPU, where each operator has to be accepted by itself."""
    text = "forward: general: no\ndense: runs\ngrad_input: aten: slow\ngrad_weight: aten: not yet"
    monkeypatch.setattr(torchconv, "explain", lambda *_: text)
    assert start(tmp_path, "--conv", "both", "--epochs", "1") == 0
    out = capsys.readouterr().out
    assert "PyTorch computes 1 of the 2 convolutions of a training step" in out
    assert "(not yet)" in out, "the gradient of the image is not needed"
    assert "x as fast" in out

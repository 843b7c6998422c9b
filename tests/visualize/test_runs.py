"""Curves and confusion matrices show what a run has recorded."""

import csv
import json

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix

from torchconv.visualize import confusion, curves

NETWORKS = ("torch", "torchconv")


def record(kind, conv, epoch, step, **measured):
    return {"kind": kind, "conv": conv, "epoch": epoch, "step": step, **measured}


def records(convs=NETWORKS, epochs=3):
    for conv in convs:
        for epoch in range(1, epochs + 1):
            yield record("step", conv, epoch, 2 * epoch, loss=2 / epoch, seconds=1.0)
            averages = {"train_loss": 2 / epoch, "test_loss": 2.5 / epoch}
            averages.update(train_accuracy=1 - 0.5**epoch, test_accuracy=1 - 0.6**epoch)
            yield record("epoch", conv, epoch, 2 * epoch, **averages)


def write_metrics(folder, some, end=""):
    lines = "".join(json.dumps(one) + "\n" for one in some)
    (folder / "metrics.jsonl").write_text(lines + end)
    return folder


def write_predictions(folder, pairs):
    with open(folder / "predictions.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["index", "label", "predicted", "probability"])
        writer.writerows((i, *pair, 0.9) for i, pair in enumerate(pairs))
    return folder


def random_pairs(classes, count=300):
    labels = torch.randint(len(classes), (count,)).tolist()
    said = torch.where(torch.rand(count) < 0.8, torch.tensor(labels), 0).tolist()
    return [(classes[a], classes[b]) for a, b in zip(labels, said, strict=True)]


@pytest.mark.parametrize("convs", [("torchconv",), NETWORKS])
def test_curves_draw_the_records(tmp_path, convs):
    some = list(records(convs))
    figure = curves(write_metrics(tmp_path, some, end='{"kind": "epoch", "conv'))
    drawn = {}
    for axes in figure.axes:
        for line in axes.lines:
            drawn[axes.get_title(), line.get_label()] = np.column_stack(line.get_data()).tolist()
    for conv in convs:
        name = {"torch": "nn.Conv2d", "torchconv": "torchconv.Conv2d"}[conv]
        for part in ("train", "test"):
            for quantity in ("loss", "accuracy"):
                own = [r for r in some if r["conv"] == conv and r["kind"] == "epoch"]
                points = [[r["epoch"], r[f"{part}_{quantity}"]] for r in own]
                assert drawn[quantity, f"{name}, {part}"] == points
    steps = [[r["step"] / 2, r["loss"]] for r in some if r["kind"] == "step"]
    assert drawn["loss", "_child0"] == steps[:3]


def test_what_is_not_recorded_is_not_drawn(tmp_path):
    some = [record("epoch", "mine", 1, 5, train_loss=0.5)]
    loss, accuracy = curves(write_metrics(tmp_path, some)).axes
    assert [line.get_label() for line in loss.lines][-1] == "mine, train"
    assert not accuracy.lines and loss.get_legend()


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"kind": 1}\n', "line 1 of .* is not a record"),
        ("[]\n", "line 1 of .* is not a record"),
        ("\n", "line 1 of .* is not a record"),
        ("", "no finished epoch"),
    ],
)
def test_damaged_metrics(tmp_path, content, message):
    (tmp_path / "metrics.jsonl").write_text(content)
    with pytest.raises(ValueError, match=message):
        curves(tmp_path)


def test_confusion_counts_as_torchmetrics_does(tmp_path):
    classes = ["cat", "dog", "emu"]
    pairs = random_pairs(classes)
    figure = confusion(write_predictions(tmp_path, pairs))
    labels, said = (torch.tensor([classes.index(p[i]) for p in pairs]) for i in range(2))
    expected = multiclass_confusion_matrix(said, labels, 3).numpy()
    axes = figure.axes[0]
    shares = expected / expected.sum(1, keepdims=True)
    assert np.allclose(axes.images[0].get_array(), shares)
    written = {text.get_position()[::-1]: int(text.get_text()) for text in axes.texts}
    assert written == {place: n for place, n in np.ndenumerate(expected) if n}
    right = expected.trace()
    assert axes.get_title() == f"{right} of 300 right ({right / 300:.2%})"
    for axis in (axes.xaxis, axes.yaxis):
        assert [label.get_text() for label in axis.get_ticklabels()] == classes


def test_classes_that_are_numbers_are_in_their_order(tmp_path):
    figure = confusion(write_predictions(tmp_path, [("10", "9"), ("2", "2")]))
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["2", "9", "10"]
    assert np.allclose(figure.axes[0].images[0].get_array(), [[1, 0, 0], [0, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "first line .* must be index,label"),
        ("label,predicted\n0,1\n", "but is 'label,predicted'"),
        ("index,label,predicted,probability\n", "holds no predictions"),
        ("index,label,predicted,probability\n0,1,1\n", "line 2 .* must have 4 values, but has 3"),
    ],
)
def test_damaged_predictions(tmp_path, content, message):
    (tmp_path / "predictions.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        confusion(tmp_path)


@pytest.mark.parametrize("draw, file", [(curves, "metrics.jsonl"), (confusion, "predictions.csv")])
def test_folders_without_a_run(tmp_path, draw, file):
    with pytest.raises(FileNotFoundError, match=f"there is no {file} in {tmp_path}"):
        draw(tmp_path)

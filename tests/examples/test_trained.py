"""The commands on a trained network, and the options that come from presets and files."""

import csv
import re

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageOps

from examples import (
    RunError,
    evaluate,
    export,
    options,
    predict,
    predictions,
    presets,
    train,
    trained,
)
from examples.images import bundled
from examples.training import checkpoint
from examples.training.metrics import read_records


@pytest.fixture(scope="module", name="run")
def lenet_on_digits(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    arguments = "--data digits --epochs 2 --ema 0.9 --device cpu --seed 1".split()
    assert train.main([*arguments, "--out", str(out)]) == 0
    return out


def test_predictions_are_those_of_the_tested_network(run):
    with open(run / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["index", "label", "predicted", "probability"]
    test = bundled.digits(train=False)
    assert [int(row["index"]) for row in rows] == list(range(360))
    assert [int(row["label"]) for row in rows] == test.targets
    right = np.mean([row["label"] == row["predicted"] for row in rows])
    assert right == pytest.approx(read_records(run / "metrics.jsonl")[-1]["test_accuracy"])
    network = trained.load(run)
    image = network.transform(test.data[5])
    sure, said = network.model(image[None]).softmax(1).max(1)
    assert int(rows[5]["predicted"]) == said.item()
    assert float(rows[5]["probability"]) == pytest.approx(sure.item(), abs=1e-4)


@pytest.mark.parametrize("more", [[], ["--best"], ["--conv", "torch"]])
def test_evaluate_agrees_with_the_run(run, capsys, tmp_path, more):
    file = tmp_path / "again.csv"
    assert evaluate.main([str(run), "--predictions", str(file), *more]) == 0
    *classes, last = capsys.readouterr().out.splitlines()
    record = [r for r in read_records(run / "metrics.jsonl") if r["kind"] == "epoch"][-1]
    assert f"Test accuracy {record['test_accuracy']:.2%} (" in last
    assert f"loss {record['test_loss']:.4f}" in last
    right, count = zip(
        *(map(int, re.findall(r"(\d+) of (\d+)$", c)[0]) for c in classes), strict=True
    )
    assert sum(count) == 360 and sum(right) / 360 == pytest.approx(record["test_accuracy"])
    if more != ["--conv", "torch"]:
        assert file.read_bytes() == (run / "predictions.csv").read_bytes()


def test_predict_reads_pictures_of_any_size_and_ground(run, tmp_path, capsys):
    test = bundled.digits(train=False)
    with open(run / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    sure = max(rows, key=lambda row: float(row["probability"]))
    image = Image.fromarray(test.data[int(sure["index"]), 0].numpy())
    image.save(tmp_path / "a.png")
    ImageOps.invert(image).resize((280, 280)).convert("RGBA").save(tmp_path / "b.png")
    assert predict.main([str(run), str(tmp_path / "a.png"), str(tmp_path / "b.png")]) == 0
    told = re.findall(r"/(.)\.png: (\d) ([\d.]+)%", capsys.readouterr().out)
    assert [(name, said) for name, said, _ in told] == [
        ("a", sure["predicted"]),
        ("b", sure["predicted"]),
    ]
    assert float(told[0][2]) == pytest.approx(100 * float(sure["probability"]), abs=0.06)


@pytest.mark.parametrize("content", [b"", b"no picture", None, "half"])
def test_picture_that_cannot_be_read(run, tmp_path, capsys, content):
    path = tmp_path / "x.png"
    if content == "half":
        Image.effect_noise((64, 64), 50).save(path)
        content = path.read_bytes()[:500]
    if content is not None:
        path.write_bytes(content)
    assert predict.main([str(run), str(path)]) == 1
    message = capsys.readouterr().err
    assert f"The picture {path} cannot be read" in message and message.count("\n") == 1


def test_exported_model_says_the_same(run, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from onnx.reference import ReferenceEvaluator

    assert export.main([str(run), "--onnx", str(tmp_path / "m.onnx")]) == 0
    model = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(model)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["classes"].split("\n") == list("0123456789")
    images = torch.rand(3, 1, 28, 28)  # another number than it was exported with
    (logits,) = ReferenceEvaluator(model).run(None, {"images": images.numpy()})
    with torch.inference_mode():
        expected = trained.load(run, conv="torch").model(images)
    torch.testing.assert_close(torch.tensor(logits), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("command", [evaluate, predict, export])
def test_directory_without_a_network(tmp_path, capsys, command):
    more = {predict: ["x.png"], export: ["--onnx", "x.onnx"]}.get(command, [])
    assert command.main([str(tmp_path), *more]) == 1
    message = capsys.readouterr().err
    assert "holds no trained network" in message and message.count("\n") == 1
    (tmp_path / "checkpoint.pt").write_bytes(b"damaged")
    assert command.main([str(tmp_path), *more]) == 1
    message = capsys.readouterr().err
    assert "is damaged" in message and message.count("\n") == 1


def test_text_picture_of_a_ramp():
    ramp = torch.linspace(0, 1, 20).expand(1, 10, 20)
    lines = list(predictions.in_text([ramp, ramp], ["a", "b"], width=10))
    assert len(lines) == 6 and lines[0] == " .:-=+*#%@   .:-=+*#%@"
    assert lines[-1].split() == ["a", "b"]
    long = list(predictions.in_text([ramp, ramp], ["a", "b of a long name"], width=10))
    assert long[:-1] == lines[:-1] and long[-1].endswith(": a; b of a long name")


def parse(*arguments):
    return options.parse([*arguments, "--out", "/nowhere/at/all"])[0]


@pytest.mark.parametrize("name", presets.PRESETS)
def test_presets_are_options_and_the_command_line_has_the_last_word(name):
    parsed = parse("--preset", name)
    for key, value in presets.PRESETS[name].options.items():
        assert getattr(parsed, key.replace("-", "_")) == value
    assert parse("--preset", name, "--epochs", "3").epochs == 3
    assert presets.PRESETS[name].reaches


def test_options_of_a_run_are_a_config(run):
    saved = checkpoint.load(run / "checkpoint.pt")["options"]
    again = parse("--config", str(run / "options.yaml"))
    assert {name: getattr(again, name) for name in options.FIXED} == {
        name: saved[name] for name in options.FIXED
    }
    assert again.epochs == 2 and again.ema == 0.9
    assert yaml.safe_load((run / "options.yaml").read_text())["seed"] == 1


def test_config_comes_after_the_preset_and_before_the_command_line(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("epochs: 7\nlabel_smoothing: 0.2\naugment: false\namp: true\nlr: 5e-4\n")
    parsed = parse("--preset", "lenet-mnist", "--config", str(path), "--label-smoothing=0.3")
    assert (parsed.data, parsed.epochs, parsed.label_smoothing) == ("mnist", 7, 0.3)
    assert (parsed.augment, parsed.amp, parsed.lr) == (False, True, 5e-4)
    path.write_text("")
    assert parse("--config", str(path)).epochs == 15


REFUSED = {
    "- 1": "is not a list of options",
    "epochs: [": "cannot be read",
    "epochs: [1, 2]": "gives 'epochs' more than one value",
    "preset: lenet-mnist": "sets 'preset'",
    "7: 8": "is not a list of options",
}


@pytest.mark.parametrize("text", REFUSED)
def test_config_that_makes_no_sense(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(RunError, match=REFUSED[text]) as error:
        parse("--config", str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["epochs: 0", "epochs: many", "colour: red", "model: vgg"])
def test_config_is_checked_as_the_command_line_is(tmp_path, text, capsys):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(SystemExit):
        parse("--config", str(path))
    assert text.split(":")[0] in capsys.readouterr().err
    with pytest.raises(RunError, match="cannot be read"):
        parse("--config", str(tmp_path / "missing.yaml"))

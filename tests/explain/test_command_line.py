"""``python -m torchconv``, and the table that it prints."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import torchconv
from tests.explain.test_compare import Small, inputs, measured
from torchconv import __main__ as command_line
from torchconv._compare import table


@pytest.mark.parametrize("with_rich", [False, True])
def test_the_table_has_every_figure(with_rich, monkeypatch):
    if with_rich:
        pytest.importorskip("rich")
        monkeypatch.setenv("COLUMNS", "300")
    else:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    found = measured(Small(), *inputs())
    lines = str(found).splitlines()
    for row in found.rows:
        (line,) = (line for line in lines if f"{row.name} " in line and row.shape in line)
        figures = line.partition(row.shape)[2].split()
        assert figures[:2] == [str(row.calls), row.algorithm]
        assert figures[-4:] == [
            f"{row.ms:.4g}", f"{row.torch_ms:.4g}", f"{row.speedup:.2f}x", f"{row.difference:.1e}",
        ]  # fmt: skip
    (total,) = (line for line in lines if line.split()[:2] == ["all", "6"])
    assert f"{found.ms:.4g}" in total.split() and f"{found.speedup:.2f}x" in total.split()
    assert lines[-1].startswith(f"whole model: {found.model_ms:.4g} ms")
    assert "no convolution was measured" in str(measured(nn.ReLU(), torch.ones(2)))


def test_a_narrow_terminal_gets_a_narrow_table(monkeypatch):
    pytest.importorskip("rich")
    found = measured(Small(), *inputs())
    monkeypatch.setenv("COLUMNS", "110")
    assert max(map(len, str(found).splitlines())) <= 110 and "body.2" in str(found)


@pytest.mark.parametrize(
    "number, text", [(0, "0"), (999, "999"), (46656, "46.7 k"), (999_600, "1 M"), (2**40, "1100 G")]
)
def test_large_numbers_are_short(number, text):
    assert table._short(number) == text


def test_command_line(capsys, monkeypatch):
    """One network of torchvision, and help that names what there is."""
    pytest.importorskip("torchvision")
    monkeypatch.setenv("COLUMNS", "200")
    options = ["--batch=2", "--size=64", "--channels-last", "--dtype=bfloat16", "--seconds=1e-4"]
    command_line.main(["compare", "squeezenet1_1", *options])
    out = capsys.readouterr().out
    assert "features.0" in out and "2x3x64x64" in out and "whole model: " in out
    for command, parts in {
        "explain": ["features.0: Conv2d(3, 64, kernel 3x3, stride 2x2), 2x3x64x64 -> 2x64x31x31"],
        "convert-report": ["2x64x31x31", "torchconv"],
    }.items():
        command_line.main([command, "squeezenet1_1", *options[:-1]])
        out = capsys.readouterr().out
        assert "features.12.squeeze" in out and all(part in out for part in parts)
        assert ": runs" in out if command == "explain" else out.startswith("name ")
    command_line.main(["info"])
    assert capsys.readouterr().out.startswith(f"torchconv {torchconv.__version__}\n")
    done = subprocess.run([sys.executable, "-m", "torchconv", "--help"], capture_output=True)
    assert done.returncode == 0
    for command in (b"compare", b"info", b"explain", b"convert-report"):
        assert command in done.stdout


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["compare", "resnet19"], "has no classification network 'resnet19'; close to it are resn"),
        (["compare", "qqq"], "there are alexnet, "),
        (["compare", "resnet18", "--batch=0"], "0 is less than 1"),
        (["compare", "resnet18", "--seconds=0"], "0.0 is not above 0"),
        (["explain", "resnet18", "--threads=0"], "0 is less than 1"),
        (["explain", "r3d_18", "--frames=0"], "0 is less than 1"),
        (["explain", "resnet18", "--seconds=1"], "unrecognized arguments: --seconds=1"),
        (["convert-report", "resnet19"], "has no classification network 'resnet19'"),
        ([], "required: COMMAND"),
    ],
)
def test_wrong_command_lines_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        command_line.main(arguments)
    assert caught.value.code == 2 and message in capsys.readouterr().err


def test_a_missing_torchvision_is_one_clear_sentence(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(SystemExit):
        command_line.main(["compare", "resnet18"])
    assert "pip install 'torchconv[compare]'" in capsys.readouterr().err

"""Random layers, their lines of text, and the distribution of their ratios."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmarks import random as random_benchmark
from benchmarks import report
from benchmarks.kinds import kind_of
from benchmarks.layer_text import as_text, from_text
from benchmarks.random_layers import KINDS, random_layers
from benchmarks.rows import Row
from tests.cases import Conv2dCase, case

DRAWN = [layer for seed in range(3) for layer in random_layers(seed, 400)]
ROW = Row(
    "n=4 c=8 h=7 w=9 k=8 r=1 s=3 padding=0,1", "dense", "train", "float32", "nhwc", 4,
    2.0, 1.9, 2.1, 0.25, 0.5, 10.0, 5.0, 5.0,
    math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, 9,
    "dense_channels dense_pixels grad_weight",
)  # fmt: skip

BELONGS: dict[str, Callable[[Conv2dCase], bool]] = {
    "stem": lambda it: it.c in (1, 3) and "first" in it.tags and it.groups == 1,
    "dense": lambda it: it.groups == 1 and it.r == it.s in (3, 5),
    "4x4": lambda it: (it.r, it.s, it.groups) == (4, 4, 1),
    "1x1": lambda it: (it.r, it.s, it.groups) == (1, 1, 1),
    "grouped": lambda it: it.groups > 1 and it.k // it.groups > 2 * (it.groups == it.c),
    "depthwise": lambda it: it.groups == it.c and it.r == it.s >= 3,
    "patches": lambda it: it.stride == (it.r, it.s) and it.r > 1 == it.groups,
    "flat kernel": lambda it: 1 == min(it.r, it.s) < max(it.r, it.s),
    "small map": lambda it: max(it.h, it.w) <= 14 and it.groups == 1,
}


def of_kind(kind):
    return [layer for drawn, layer in DRAWN if drawn == kind]


def test_a_seed_stands_for_its_layers():
    """On every machine, and however many are drawn."""
    some = random_layers(0, 40)
    assert random_layers(0, 15) == some[:15]
    assert random_layers(1, 15) != some[:15]
    assert [(kind, layer.name) for kind, layer in some[:3]] == [
        ("patches", "n=16 c=3 h=128 w=128 k=256 r=16 s=16 stride=16 bias first"),
        ("1x1", "n=8 c=144 h=16 w=29 k=864 r=1 s=1 stride=2 bias"),
        ("flat kernel", "n=4 c=448 h=75 w=75 k=16 r=1 s=11 padding=0,5"),
    ]


def test_every_layer_is_one_of_nn_conv2d_and_takes_milliseconds():
    for _, layer in DRAWN:
        module = nn.Conv2d(
            layer.c, layer.k, (layer.r, layer.s), layer.stride, layer.torch_padding,
            layer.dilation, layer.groups, layer.bias, device="meta",
        )  # fmt: skip
        output = module(torch.empty(layer.input_size, device="meta"))
        assert output.shape == layer.output_size and min(output.shape) >= 1, layer.name
        assert module.weight.shape == layer.weight_size
        mebibytes = [4 * math.prod(size) / 2**20 for size in (layer.input_size, output.shape)]
        weight = 4 * module.weight.numel() / 2**20
        assert layer.flops <= 4e9 and max(*mebibytes, weight) <= 64, layer.name
        assert layer.flops >= 0.02e9 or sum(mebibytes) + weight >= 1, layer.name


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_drawn(kind):
    found = of_kind(kind)
    assert len(found) >= 20 and all(map(BELONGS[kind], found))
    assert {layer.n for layer in found} == {1, 2, 4, 8, 16, 32}
    assert {layer.bias for layer in found} == {True, False}


def test_kinds_have_what_networks_have():
    def values(kind, value):
        return {value(layer) for layer in of_kind(kind)}

    assert values("stem", lambda it: it.r) == {3, 5, 7, 9, 11}
    assert values("stem", lambda it: it.stride[0]) == {1, 2, 3, 4}
    assert values("dense", lambda it: (it.stride[0], it.dilation[0])) == {
        (1, 1), (2, 1), (1, 2), (1, 4),
    }  # fmt: skip
    assert values("1x1", lambda it: (it.c > it.k) - (it.c < it.k)) == {-1, 0, 1}
    assert values("grouped", lambda it: it.c // it.groups) >= {1, 2, 4, 8, 16, 32}
    assert values("grouped", lambda it: it.groups) == {2, 3, 4, 8, 16, 32, 64}
    assert values("depthwise", lambda it: it.r) == {3, 5, 7, 9, 11, 13, 17, 21, 27, 31}
    assert values("depthwise", lambda it: it.k // it.c) == {1, 2}
    assert values("depthwise", lambda it: it.dilation[0]) == {1, 2, 3, 4}
    assert values("patches", lambda it: it.r) == {2, 4, 8, 14, 16}
    assert values("flat kernel", lambda it: (it.r, it.s)) >= {(1, 3), (1, 7), (7, 1)}
    assert values("flat kernel", lambda it: it.groups == it.c) == {True, False}
    assert values("small map", lambda it: it.h) == set(range(1, 15))
    assert any(layer.w % 2 for layer in of_kind("depthwise") if layer.h != layer.w)
    assert any(layer.c % 8 for layer in of_kind("1x1"))


def test_a_layer_is_its_text():
    for _, layer in DRAWN:
        assert layer.name == as_text(layer) and from_text(layer.name) == layer
    flat = case("", 2, 6, (9, 8), 4, (3, 2), (2, 1), (1, 0), (1, 3), 2, True, "first")
    text = "n=2 c=6 h=9 w=8 k=4 r=3 s=2 stride=2,1 padding=1,0 dilation=1,3 groups=2 bias first"
    assert as_text(flat) == text and from_text(text) == replace(flat, name=text)
    assert from_text("s=3 r=3 k=4 w=8 h=9 c=6 n=2 stride=1").name == "n=2 c=6 h=9 w=8 k=4 r=3 s=3"


@pytest.mark.parametrize(
    "text, message",
    [
        ("n=1 c=4 h=8 k=4 r=3", "has no w, s"),
        ("n=1 c=4 h=8 w=8 k=4 r=3 s=3 strides=2", "unknown strides"),
        ("n=1 c=4 h=8 w=8 k=4 r=3 s=3 biased", "'biased'"),
        ("n=1 c=4 h=8 w=8 k=4 r=3 s=3 bias=1", "'bias=1'"),
        ("n=1 c=4 h=8 w=8 k=4 r=three s=3", "three"),
        ("n=1 c=4 h=8 w=8 k=4 r=3 s=3 groups=3", "is no layer"),
        ("n=1 c=4 h=8 w=8 k=4 r=3 s=3 stride=0", "is no layer"),
        ("n=1 c=4 h=8 w=8 k=4 r=3 s=3 padding=-1", "is no layer"),
        ("n=1 c=4 h=8 w=8 k=4 r=3 s=9", "has no output"),
    ],
)
def test_a_wrong_text_is_refused(text, message, capsys):
    with pytest.raises(ValueError, match=message):
        from_text(text)
    with pytest.raises(SystemExit):
        random_benchmark.parse_arguments(["--layer", text])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--what=forwards", "--layout=nchw,hwcn", "--dtype=int8"])
def test_unknown_names_are_refused(option, capsys):
    with pytest.raises(SystemExit):
        random_benchmark.parse_arguments([option])
    assert "is none of" in capsys.readouterr().err


def test_the_distribution_of_hand_made_rows(capsys):
    """0.5, 1, 2, 4, 8 in training; the tenth of 5 values lies 0.4 of the way to the second."""
    rows = [replace(ROW, speedup=2.0**i) for i in range(-1, 4)]
    rows += [replace(ROW, kind="1x1", speedup=0.5), replace(ROW, what="forward", speedup=3.0)]
    found = random_benchmark.distributions(rows)
    key = ("train", "float32", "nhwc")
    assert list(found) == [
        ("1x1", *key), ("dense", *key), ("dense", "forward", *key[1:]),
        ("all", *key), ("all", "forward", *key[1:]),
    ]  # fmt: skip
    dense, one, everything = (found[(kind, *key)] for kind in ("dense", "1x1", "all"))
    assert (dense.count, dense.lowest, dense.median) == (5, 0.5, 2.0)
    assert dense.mean == pytest.approx(2.0) and dense.tenth == pytest.approx(0.7)
    assert dense.slower == pytest.approx(0.2)  # 1.0 itself is not below
    assert (one.count, one.lowest, one.tenth, one.median, one.slower) == (1, 0.5, 0.5, 0.5, 1)
    assert everything.count == 6 and everything.slower == pytest.approx(1 / 3)
    random_benchmark.print_distributions(rows)
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("dense"))
    assert line.split() == [
        "dense", "train", "float32", "channels_last", "5", "2.00", "0.50", "0.70", "2.00", "20%",
    ]  # fmt: skip


def test_the_lowest_are_commands(capsys):
    rows = [replace(ROW, speedup=speedup) for speedup in (1.5, 0.75, 3.0, 0.5)]
    random_benchmark.print_lowest(rows, 2, threads=2)
    _, title, first, second = capsys.readouterr().out.splitlines()
    assert title == "the lowest of 4:" and "# 0.50x" in first and "# 0.75x" in second
    assert "0.25 ms, torch 0.5 ms, dense: dense_channels dense_pixels grad_weight" in first
    words = shlex.split(first, comments=True)
    assert words[:3] == ["python", "-m", "benchmarks.random"]
    arguments = random_benchmark.parse_arguments(words[3:])
    assert arguments.layer == [from_text(ROW.case)] and arguments.threads == 2
    assert (arguments.what, arguments.layout, arguments.dtype) == (["train"], ["nhwc"], ["float32"])


def test_a_run(capsys, monkeypatch, tmp_path):
    tiny = [
        ("1x1", from_text("n=1 c=4 h=8 w=9 k=8 r=1 s=1 stride=2")),
        ("depthwise", from_text("n=2 c=8 h=7 w=7 k=8 r=3 s=3 padding=1 groups=8 bias")),
    ]
    monkeypatch.setattr(random_benchmark, "random_layers", lambda seed, count: tiny[:count])
    csv = tmp_path / "rows.csv"
    random_benchmark.main(["--seed", "5", "--count", "2", "--seconds", "0.01", "--csv", str(csv)])
    machine, seed, header, *lines = capsys.readouterr().out.splitlines()
    assert "FMA peak" in machine and seed == "2 layers of seed 5" and header == report.HEADER
    rows = report.read_csv(csv, Row)
    assert [(row.case, row.kind, row.layout, row.what) for row in rows] == [
        (layer.name, kind, layout, what)
        for kind, layer in tiny for layout in ("nchw", "nhwc") for what in ("forward", "train")
    ]  # fmt: skip
    for line, row in zip(lines, rows, strict=False):
        assert line.startswith(row.case) and line.endswith(f" {row.algorithms}") and row.algorithms
    text = "\n".join(lines)
    for kind in ("1x1", "depthwise", "all"):
        assert len([line for line in lines if line.startswith(f"{kind} ")]) == 4
    commands = [line for line in lines if line.startswith("python -m benchmarks.random --layer")]
    assert len(commands) == 8 and "the lowest of 8:" in text and f"wrote {csv}" in text
    again = [*shlex.split(commands[0], comments=True)[3:], "--seconds", "0.01"]
    random_benchmark.main(again)
    text = capsys.readouterr().out
    assert "seed" not in text and "the lowest of 1:" in text
    layer = from_text(again[1])
    assert f"\n{layer.name}" in text and f" {kind_of(layer)}: " in text


def test_a_layer_for_which_torch_does_not_return_is_left_out(capsys):
    layer = "n=1 c=3 h=30 w=30 k=3 r=1 s=23 groups=3"
    options = ["--dtype", "bfloat16", "--layout", "nhwc", "--what", "forward"]
    random_benchmark.main(["--layer", layer, *options])
    printed = capsys.readouterr().out
    assert "left out, nn.Conv2d does not return" in printed
    assert "the lowest of 0" in printed

"""explain, report and compare of models with Conv3d: what torchconv computes, and what not."""

import pytest
import torch
from torch import nn

import torchconv
from tests.compare import outcome
from tests.explain.test_compare import measured
from torchconv import __main__ as command_line
from torchconv._explain.call import explain_call

LAST = torch.channels_last_3d
OPTIONS = None, 1, 0, 1, 1


def build():
    """Both halves of a (2+1)d layer, a kernel that PyTorch computes, and padding by a copy."""
    return nn.Sequential(
        nn.Conv3d(3, 8, (1, 3, 3), padding=(0, 1, 1)),
        nn.Conv3d(8, 16, (3, 1, 1), padding=(1, 0, 0)),
        nn.Conv3d(16, 4, 3),
        nn.Conv3d(4, 4, (3, 1, 1), padding=(1, 0, 0), padding_mode="replicate"),
    ).eval()


def film(memory_format=LAST, n=2):
    return torch.randn(n, 3, 5, 8, 9).contiguous(memory_format=memory_format)


@pytest.mark.parametrize("converted", [False, True])
def test_a_model_is_explained(converted):
    model = build()
    if converted:
        torchconv.convert(model)
    found = torchconv.explain(model, film())
    assert [(row.name, row.function, row.output_size) for row in found] == [
        ("0", "conv3d", (2, 8, 5, 8, 9)),
        ("1", "conv3d", (2, 16, 5, 8, 9)),
        ("2", "conv3d", (2, 4, 3, 6, 7)),
        ("3", "conv3d", (2, 4, 3, 6, 7)),
    ]
    flat, deep, cube, padded = found
    images = film().transpose(1, 2).flatten(0, 1)
    assert flat.text == torchconv.explain(images, model[0].weight[:, :, 0], padding=1)
    last = torch.channels_last
    rows = torch.empty(2, 8, 5, 72).contiguous(memory_format=last)
    weight = torch.empty(16, 8, 3, 1)
    assert deep.text == torchconv.explain(rows, weight, padding=(1, 0))
    assert f"\n{deep.algorithm}: runs" in deep.text and padded.algorithm not in ("", "aten")
    assert cube.text == "aten: torchconv computes kernels t x 1 x 1 and 1 x r x s"
    assert all(row.converted == converted for row in found)
    contiguous = torchconv.explain(model, film(torch.contiguous_format))[0]
    assert contiguous.algorithm == "aten" and "this is contiguous" in str(contiguous)


@pytest.mark.parametrize(
    "kernel, options, reason",
    [
        ((3, 3, 3), {}, "kernels t x 1 x 1 and 1 x r x s"),
        ((3, 1, 1), dict(stride=2), "t x 1 x 1 that neither stride nor pad height and width"),
        ((3, 1, 1), dict(padding=1), "t x 1 x 1 that neither stride nor pad height and width"),
        ((1, 3, 3), dict(stride=2), "1 x r x s that neither stride nor pad the depth"),
        ((1, 3, 3), dict(padding=1), "1 x r x s that neither stride nor pad the depth"),
        ((1, 3, 3), {}, "this is contiguous"),
        ((2, 1, 1), dict(padding="same"), "arguments of this form"),
        ((3, 1, 1), dict(weight_format=LAST), "the weight is in channels_last_3d"),
    ],
    ids=str,
)
@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even")
def test_why_a_call_is_left_to_pytorch(kernel, options, reason, batched):
    weight = torch.randn(8, 3, *kernel)
    weight = weight.contiguous(memory_format=options.get("weight_format", torch.contiguous_format))
    x = film(torch.contiguous_format, 2 if batched else 1)
    stride, padding = options.get("stride", 1), options.get("padding", 0)
    text = explain_call("conv3d", (x if batched else x[0], weight, None, stride, padding, 1, 1))
    assert text.startswith("aten: ") and reason in text
    ours = explain_call("conv3d", (film(), torch.randn(8, 3, 3, 1, 1), *OPTIONS))
    assert ours.startswith("forward: ")


def test_calls_that_are_wrong_raise_as_conv3d():
    for x, weight in ((film(), torch.randn(8, 4, 3, 1, 1)), (film(), torch.randn(8, 3, 9, 1, 1))):
        kind, _ = outcome(torchconv.conv3d, x, weight, *OPTIONS)
        assert issubclass(kind, Exception)
        assert outcome(explain_call, "conv3d", (x, weight, *OPTIONS))[0] is kind


def test_the_report_says_what_is_left_to_pytorch():
    model = torchconv.convert(build())
    assert all(row.done == ("torchconv",) for row in torchconv.report(model))  # before any call
    for memory_format, computed in ((LAST, "0,1,3"), (torch.contiguous_format, "1,3")):
        rows = torchconv.report(model, film(memory_format))
        assert ",".join(row.name for row in rows if row.done == ("torchconv",)) == computed
        for row in rows:
            ours = row.name in computed
            assert (row.algorithm == "aten", row.reason == "") == (not ours, ours)


@pytest.mark.parametrize("memory_format", [LAST, torch.contiguous_format], ids=str)
def test_layers_are_measured(memory_format):
    model, example = build(), film(memory_format)
    found = measured(model, example)
    rows = {row.name: row for row in found.rows}
    assert not found.left_out and all(row.difference < 1e-5 for row in found.rows)
    for row in torchconv.explain(model, example):
        assert rows[row.name].algorithm == row.algorithm
        assert rows[row.name].output_size == row.output_size
    assert rows["0"].shape == "2x3x5x8x9 -> 2x8x5x8x9, 1x3x3"
    assert rows["0"].memory_format == ("channels_last" if memory_format is LAST else "contiguous")
    assert rows["2"].macs == 2 * 4 * 3 * 6 * 7 * 16 * 27


def test_a_network_of_videos_in_the_command_line(capsys):
    pytest.importorskip("torchvision")
    small = ["r2plus1d_18", "--frames=2", "--size=16"]
    command_line.main(["explain", *small, "--channels-last"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(", 1x3x2x16x16 -> 1x45x2x8x8") and "aten" not in lines[1]
    command_line.main(["convert-report", *small])
    assert "this is contiguous" in capsys.readouterr().out

"""The figures of README.md are those of the files they come from."""

from __future__ import annotations

import math
import re
from dataclasses import fields, replace

import pytest
import torch

from benchmarks import models, readme, report, tables
from benchmarks.rows import Row, measure_row
from benchmarks.subjects import Subject
from tests.cases import case
from tests.layer_names import NETWORKS as NETWORK_NAMES
from tests.layer_names import layer_name
from tests.networks import HELD_OUT, NETWORKS, layers

ROW = Row(
    "mobilenet_v2/b7.dw", "depthwise", "forward", "float32", "nhwc", 4,
    0.75, 0.7, 0.8, 0.3, 0.2, 10.0, 15.0, 5.0,
    1e-7, 2e-7, 3e-7, 4e-7, 2e-7, 2e-7, 9, "depthwise",
)  # fmt: skip
ERRORS = [field.name for field in fields(Row) if "error" in field.name]
MODEL = models.ModelRow("resnet50", "train", "float32", "nchw", 4, 1.25, 1.2, 1.3, 80.0, 100.0, 5)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("mobilenet_v2/b7.dw", "MobileNetV2 block 7 depthwise 3x3"),
        ("mobilenet_v2/b1.dw_s2", "MobileNetV2 block 1 depthwise 3x3, stride 2"),
        ("resnet18/s4.3x3_b1", "ResNet-18 stage 4 3x3, one image"),
        ("vgg16/5_1", "VGG-16 layer 5-1 3x3"),
        ("deeplab/aspp.d12", "DeepLab ASPP 3x3, dilation 12"),
        ("resnext50/s2.g32", "ResNeXt-50 stage 2 3x3 in 32 groups"),
    ],
)
def test_layers_have_the_names_people_know(name, expected):
    assert layer_name(report.LAYERS[name]) == expected


def test_no_two_layers_have_one_name():
    cases = layers(NETWORKS) + layers(HELD_OUT)
    assert len({layer_name(case) for case in cases}) == len(cases)
    assert {*NETWORKS, *HELD_OUT, *models.zoo()} <= set(NETWORK_NAMES)


def test_rows_survive_their_files(tmp_path):
    for row in (ROW, MODEL):
        report.write_csv(tmp_path / "rows.csv", [row, row])
        assert report.read_csv(tmp_path / "rows.csv", type(row)) == [row, row]
    text = (tmp_path / "rows.csv").read_text()
    (tmp_path / "rows.csv").write_text(text.replace("speedup", "ratio"))  # as an older file
    (row, _) = report.read_csv(tmp_path / "rows.csv", type(MODEL))
    assert math.isnan(row.speedup) and row.ms == MODEL.ms


def test_means_of_a_network():
    """Geometric means: of the speed-ups in a column, and of the errors in the whole line."""
    exact, nothing = replace(ROW, speedup=3.0, error_forward=9e-7), math.nan
    train = replace(ROW, what="train", error_forward=nothing, error_grad_weight=nothing)
    rows = [ROW, exact, train]
    *_, network, everything = tables.means(rows, "title").splitlines()
    speeds, errors = "|  | 1.50x |  | 0.75x |", "3.0e-07 (4.0e-07) | 2.0e-07 (2.0e-07)"
    assert network == f"| MobileNetV2 {speeds} {errors} | 3.0e-07 (2.0e-07) |"
    assert everything == network.replace("MobileNetV2", "**all**")


def test_slower_rows_are_counted():
    rows = [ROW, replace(ROW, speedup=0.96, what="train"), replace(ROW, speedup=0.99), MODEL]
    text = tables.slower_rows(rows)
    assert "slower in 3 of the 4 rows" in text and "in 1 of them by more than 5 %" in text
    assert "2 of the 3 are of one kind: forward in `channels_last`" in text
    assert "slower in none of the 1 rows" in tables.slower_rows([MODEL])


def test_results_less_exact_than_nn_conv2ds_are_listed(capsys):
    """Each once, though a training step has a forward pass, too."""
    limit = replace(ROW, error_grad_weight=2.5e-7)
    train = replace(ROW, what="train", error_forward=math.nan)
    worse = replace(ROW, case="vgg16/5_1", error_forward=8e-7, error_grad_weight=2e-7)
    text = tables.inexact([ROW, train, worse])
    assert text.startswith("Of the 6 results") and "2 have more than 1.25 times" in text
    *_, first, last = text.splitlines()
    assert first.endswith("| output | channels_last | 8.0e-07 | 4.0e-07 | 2.00x |")
    assert "weight's gradient" in last and last.endswith("| 1.50x |")
    assert tables.inexact([limit]).startswith("None of the 3 results")
    assert tables.inexact([replace(ROW, **dict.fromkeys(ERRORS, math.nan))]) == ""
    names = "depthwise depthwise depthwise_grad_weight"
    assert report.Inexact(replace(ROW, algorithms=names), "grad_weight", 1, 1).algorithm == (
        "depthwise_grad_weight"
    )
    report.print_errors([replace(row, algorithms=names) for row in (ROW, worse)], 1)
    out = capsys.readouterr().out
    assert "error of forward: 2.8e-07, nn.Conv2d 4.0e-07" in out and "2 of 6 results" in out


def test_best_and_worst_rows():
    best = replace(ROW, case="replk31/s1.dw31", layout="nchw", speedup=26.4)
    *_, first, last = tables.best_and_worst([ROW, replace(ROW, speedup=0.9), best]).splitlines()
    assert (
        first == "| RepLKNet-31B stage 1 depthwise 31x31 | forward | contiguous | 0.3 | 0.2 | 26x |"
    )
    assert last.startswith("| MobileNetV2 block 7 depthwise 3x3 | forward | channels_last |")
    assert last.endswith("| 0.75x |")


def test_figures_are_written_between_the_markers(tmp_path, monkeypatch):
    """From files of this machine, torch and number of threads, and of no other."""
    for environment, row in (("here", ROW), ("elsewhere", replace(ROW, case="vgg16/5_1"))):
        other = replace(row, layout="nchw", speedup=2.0)
        half = replace(row, dtype="bfloat16", speedup=1.75)
        report.write_results(tmp_path, "main", environment, [row, other, half])
    narrow = [replace(ROW, layout="nchw", speedup=speedup) for speedup in (2.5, 10)]
    report.write_results(tmp_path, "main", "here-avx2", narrow)
    report.write_csv(tmp_path / "models-float32-here.csv", [MODEL])
    report.write_csv(tmp_path / "apart-float32-here.csv", [replace(MODEL, speedup=1.5)])
    slug = {None: "here", "avx2": "here-avx2"}
    monkeypatch.setattr(readme, "environment", lambda level=None: slug[level])
    path = tmp_path / "README.md"
    markers = "".join(f"<!-- {m}:start -->old<!-- {m}:end -->\n" for m in ("headline", "benchmark"))
    path.write_text(f"before\n{markers}after\n")
    readme.update(tmp_path, path)
    text = path.read_text()
    assert text.startswith("before\n<!-- headline") and text.endswith("-->\nafter\n")
    assert "old" not in text and "VGG" not in text and "NHWC" in text
    assert "By network, forward: from 2.00x (MobileNetV2) to 2.00x (MobileNetV2)." in text
    assert "1 layer of well-known networks" in text and "FMA peak 200 GFLOP/s" in text
    assert "torchconv and PyTorch both limited to AVX2: 5.00x forward;" in text
    assert "A training step of a whole model: ResNet-50 1.25x." in text
    assert "| MobileNetV2 | 2.00x | 0.75x |" in text and "| ResNet-50 | 4 | 1.25x |" in text
    assert "| ResNet-50 | 4 | 1.50x |" in text.partition("process of its own")[2]
    half_table = text.partition("| `bfloat16` |")[2]
    assert re.search(r"\| MobileNetV2 \|  \| 1.75x", half_table)
    readme.update(tmp_path, path)
    assert path.read_text() == text
    slug[None] = "here-avx2"  # where nothing is wider than AVX2
    readme.update(tmp_path, path)
    assert "limited to AVX2" not in path.read_text() and "5.00x forward" in path.read_text()


def test_a_missing_marker_is_an_error():
    with pytest.raises(SystemExit, match="headline:start"):
        readme.replace_between("text", "headline", "new")


@pytest.mark.parametrize("dtype, bound", [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)], ids=str)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_errors_are_of_every_operator(dtype, bound, layout, monkeypatch):
    subject = Subject.build(case("net/layer", 2, 6, 9, 8, 3, groups=2, bias=True), layout, dtype)
    for what in ("forward", "train"):
        errors = subject.errors(what)
        assert list(errors) == subject.operators(what)
        assert all(0 < error < bound for pair in errors.values() for error in pair)
    for op in ("forward", "grad_input", "grad_weight"):
        right = Subject._result

        def wrong(self, module, asked, op=op, right=right):
            result = right(self, module, asked)
            return 1.5 * result if (asked, module) == (op, self.ours) else result

        with monkeypatch.context() as patch:
            patch.setattr(Subject, "_result", wrong)
            found = replace(subject, _errors={}).errors("train")
        for other, (ours, theirs) in found.items():
            assert ours == pytest.approx(0.5, rel=0.05) if other == op else ours < bound
            assert theirs < bound


def test_a_measured_row_has_every_figure():
    subject = Subject.build(case("net/layer", 1, 3, 8, 4, 3), "nhwc", torch.bfloat16)
    row = measure_row(subject, "train", budget=0.01, min_pairs=3, with_errors=True)
    assert row.speedup > 0 and row.low <= row.speedup <= row.high and 0 < row.percent_of_peak
    assert all(0 < getattr(row, name) < 1e-2 for name in ERRORS) and row.pairs >= 3
    assert "net/layer" in report.table_line(row) and "channels_last" in report.table_line(row)


@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
def test_a_whole_model_is_measured(capsys, apart):
    rows = models.measure_models(["lenet"], "float32", ["nchw", "nhwc"], 0.01, apart)
    wanted = [(what, layout) for layout in ("nchw", "nhwc") for what in ("train", "inference")]
    assert [(row.what, row.layout) for row in rows] == wanted
    assert all(row.speedup > 0 and row.batch == 64 for row in rows)
    assert capsys.readouterr().out.count("LeNet") == 4

"""The benchmark of whole models in inference, on models that take no time."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

import torchconv
from benchmarks import readme, report, tables
from benchmarks.inference import command, networks, subjects
from benchmarks.inference.rows import Built, InferenceRow, difference, measure, of_best_peer
from benchmarks.inference.subjects import OURS, PEERS, SUBJECTS, LeftOut
from benchmarks.turns import FEWEST_ROUNDS, Turns
from tests.benchmarks.test_readme_tables import ROW as LAYER
from tests.layer_names import NETWORKS

ROW = InferenceRow(
    "resnet18", 1, "float32", "optimized", 8.0, 7.0, 9.0, 10.0, 12.0,
    0.8, 1.0, 1.0, 1.0, 1.25, 1e-6, 30, "torchconv 0.1.0, channels_last",
)  # fmt: skip


def peer(subject, ratio, **changes):
    about = f"{PEERS[subject].name} 9.9, settings"
    return replace(ROW, subject=subject, about=about, optimized=ratio, **changes)


def tiny():
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(1)
        return networks.settled(
            nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
                nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(), nn.LazyLinear(5),
            ),
            images(4),
        )  # fmt: skip


def images(batch):
    return torch.randn(batch, 3, 10, 10, generator=torch.Generator().manual_seed(0))


def built(*names, dtype=torch.float32, model=None):
    return Built.build(model or tiny(), images(2), dtype, names)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_subjects_compute_the_model_and_leave_it_alone(dtype):
    """In the given dtype: what is rounded to bfloat16 differs by more than 1e-4."""
    model = tiny()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    names = ("eager", "eager_nhwc", "torchconv", "optimized")
    found = built(*names, dtype=dtype, model=model)
    assert found.calls.keys() == set(names) and not found.left_out and not found.wrong
    low, high = (0, 1e-5) if dtype == torch.float32 else (1e-4, 0.1)
    assert all(low < value < high for value in found.differences.values())
    assert type(model[0]) is nn.Conv2d and not torchconv.is_converted(model[0])
    assert all(torch.equal(model.state_dict()[name], state[name]) for name in state)


@pytest.mark.parametrize("name", ["torchconv", "optimized"])
def test_ours_are_computed_by_torchconv(name):
    call = built(name).calls[name]
    with torch.profiler.profile() as profile:
        call()
    assert any(event.name.startswith("torchconv::") for event in profile.events())


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_subjects():
    """Both, the second of which is compiled anew, with its weights packed."""
    counters = torch._dynamo.utils.counters
    names = ("compile", "freezing", "optimized_compile")
    counters.clear()
    found = built(*names)
    assert found.calls.keys() == set(names), found.left_out
    assert counters["inductor"]["mkldnn_conv_weight_pack_matcher_count"] > 0
    assert counters["stats"]["unique_graphs"] == 3
    assert all(value < 1e-5 for value in found.differences.values())
    assert not torch._inductor.config.freezing


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_other_runtimes(name):
    pytest.importorskip(name)
    found = built(name)
    assert found.differences[name] < 1e-5, found.left_out
    assert name in found.calls


def test_what_does_not_run_has_a_reason(monkeypatch):
    def broken(*_):
        raise RuntimeError("no\n  such kernel")

    def absent(*_):
        raise LeftOut("not on this CPU")

    for name, build in (("eager", broken), ("compile", absent)):
        monkeypatch.setitem(SUBJECTS, name, replace(SUBJECTS[name], build=build))
    monkeypatch.setitem(sys.modules, "openvino", None)
    found = built("eager", "compile", "openvino", "torchconv")
    assert found.calls.keys() == {"torchconv"}
    assert found.left_out["eager"] == "RuntimeError: no such kernel"
    assert found.left_out["compile"] == "not on this CPU"
    assert "openvino" in found.left_out["openvino"]


@pytest.mark.parametrize("wrong", [lambda y: y * 1.01, lambda y: y / 0, lambda y: y[:1]])
def test_a_wrong_output_is_not_measured(wrong, monkeypatch):
    right = SUBJECTS["eager"].build

    def build(*arguments):
        call = right(*arguments)
        return lambda: wrong(call())

    monkeypatch.setitem(SUBJECTS, "eager", replace(SUBJECTS["eager"], build=build))
    found = built("eager", "torchconv")
    assert found.wrong.keys() == {"eager"} and found.calls.keys() == {"torchconv"}


def test_the_difference_is_relative_to_the_largest_element():
    exact = torch.tensor([[1.0, -10.0]], dtype=torch.double)
    assert difference(torch.tensor([[1.5, -10.0]]), exact) == pytest.approx(0.05)
    assert math.isnan(difference(torch.tensor([[math.nan, -10.0]]), exact))
    assert difference(torch.zeros(2, 2), exact) == math.inf


def test_figures_of_hand_made_times(monkeypatch):
    """Ratios are of the medians of the turns of one round, and their median is what is told."""
    turns = Turns({
        "eager": [[0.002], [0.009, 0.009, 0.1], [0.008]],
        "torchconv": [[0.001], [0.001, 0.001], [0.004]],
        "optimized": [[0.001], [0.003, 0.003, 0.003], [0.002]],
    })  # fmt: skip
    assert turns.ratios("eager", "optimized") == pytest.approx([2, 3, 4])
    monkeypatch.setattr("benchmarks.inference.rows.in_turns", lambda *_: turns)
    made = Built(dict.fromkeys(turns.seconds), dict.fromkeys(turns.seconds, 1e-7), {}, {})
    eager, converted, optimized = measure("net", 2, torch.float32, made, 1.0)
    found = eager.optimized, eager.optimized_low, eager.optimized_high
    assert found == pytest.approx((3, 2.5, 3.5))
    assert eager.torchconv == pytest.approx(2) and math.isnan(eager.optimized_compile)
    assert eager.ms == pytest.approx(9) and eager.low_ms == pytest.approx(8)
    assert eager.high_ms == pytest.approx(9) and eager.ms < eager.p90_ms < eager.p99_ms < 100
    assert optimized.optimized == 1 and converted.torchconv == 1
    assert (eager.rounds, eager.batch, eager.dtype) == (3, 2, "float32")


def test_nothing_is_measured_where_nothing_runs():
    assert measure("net", 2, torch.float32, Built({}, {}, {}, {}), 1.0) == []


def test_models_have_activations_of_one_size():
    norm = nn.BatchNorm2d(6)
    with torch.random.fork_rng(devices=()):
        block = nn.Sequential(nn.Conv2d(3, 6, 3), norm, nn.Dropout(1.0))
        block.register_parameter("layer_scale", nn.Parameter(torch.full((6,), 1e-6)))
        networks.settled(block, 100 * images(4))
    assert not any(module.training for module in block.modules()) and norm.momentum == 0.1
    spread = block(100 * images(4)).std((0, 2, 3))
    torch.testing.assert_close(spread, norm.weight.detach(), rtol=0.01, atol=0)
    assert block.layer_scale.min() > 0.05 and norm.weight.std() > 0.05


def test_every_model_is_one_of_torchvision_and_has_a_name():
    assert set(networks.NAMES) <= set(networks.known()) & set(NETWORKS)
    state = torch.get_rng_state()
    x = networks.images(1)
    first, second = (networks.build("mobilenet_v2") for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    with torch.inference_mode():
        assert torch.equal(first(x), second(x)) and 0.1 < first(x).std() < 10


@pytest.fixture
def tiny_models(monkeypatch):
    monkeypatch.setattr(networks, "known", lambda: ["tiny"])
    monkeypatch.setattr(networks, "build", lambda _: tiny())
    monkeypatch.setattr(networks, "images", images)
    without = replace(OURS["optimized_compile"], build=OURS["optimized"].build)
    monkeypatch.setitem(SUBJECTS, "optimized_compile", without)  # which would take seconds


def test_the_benchmark_runs(tiny_models, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "openvino", None)
    arguments = ["tiny", "--batch", "1", "2", "--peers", "eager", "openvino", "--seconds", "0.001"]
    command.main([*arguments, "--csv", str(tmp_path)])
    out = capsys.readouterr().out
    assert "FMA peak" in out and f"PyTorch: PyTorch {torch.__version__.split('+')[0]}" in out
    assert out.count("left out: OpenVINO") == 1 and "torchconv[peers]" in out
    (path,) = tmp_path.glob("inference-float32-*.csv")
    rows = report.read_csv(path, InferenceRow)
    assert [(row.batch, row.subject) for row in rows] == [
        (batch, name) for batch in (1, 2) for name in ("eager", *OURS)
    ]
    assert all(0 < row.low_ms <= row.ms <= row.p90_ms <= row.p99_ms for row in rows)
    assert all(row.optimized > 0 and row.rounds >= FEWEST_ROUNDS for row in rows)
    means = [line.split()[0] for line in out.partition("beside the best peer")[2].splitlines()[1:]]
    assert means[: 2 * len(OURS)] == ["1"] * len(OURS) + ["2"] * len(OURS)


def test_the_benchmark_fails_where_an_output_is_wrong(tiny_models, monkeypatch, capsys):
    wrong = replace(PEERS["eager"], build=lambda *_: lambda: torch.zeros(1, 5))
    monkeypatch.setitem(SUBJECTS, "eager", wrong)
    with pytest.raises(SystemExit, match="wrong"):
        command.main(["tiny", "--batch", "1", "--peers", "eager", "--seconds", "0.001"])
    assert "WRONG: PyTorch: the output differs by 1.0e+00" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command.parse_arguments(["vgg99"])
    assert "no classification network vgg99" in capsys.readouterr().err


def test_the_best_peer_is_the_one_that_ours_gains_least_beside():
    rows = [ROW, peer("eager", 3.0), peer("openvino", 0.75), peer("compile", math.nan)]
    assert of_best_peer(rows, "optimized") == rows[2]
    assert of_best_peer([ROW], "optimized") is None
    other = [replace(row, model="vgg11", optimized=3.0) for row in rows[:2]]
    line = next(line for line in command.means(rows + other) if "optimized  " in line)
    assert line.split() == [
        "1",
        "torchconv,",
        "optimized",
        "1.50x",
        "(slower",
        "in",
        "1",
        "of",
        "2)",
    ]


def test_a_line_of_the_table():
    words = command.table_line(peer("openvino", 0.754, optimized_compile=math.nan)).split()
    assert words[:4] == ["ResNet-18", "1", "OpenVINO", "8"]
    assert words[4:] == ["7-9", "10", "12", "0.75x", "1.00x-1.00x", "0.80x", "1.0e-06"]


def test_the_table_of_the_readme(tmp_path, monkeypatch):
    """Read from files: each model and batch, with the peers that were measured, and means."""
    rows = [ROW, peer("eager", 4.0), peer("openvino", 0.5)]
    rows += [replace(row, model="vgg11", optimized=1.0) for row in rows[:2]]
    rows += [replace(row, batch=4) for row in rows[:2]]
    report.write_csv(tmp_path / "inference-float32-here.csv", rows)
    half = [replace(row, dtype="bfloat16") for row in rows[:2]]
    report.write_csv(tmp_path / "inference-bfloat16-here.csv", half)
    monkeypatch.setattr(readme, "environment", lambda level=None: level or "here")
    found = readme.Results.read(tmp_path).inference
    assert sorted(map(str, found)) == sorted(map(str, rows + half))
    text = readme.inference(found)
    assert text.index("| `float32` |") < text.index("| `bfloat16` |")
    table = text.partition("| `float32` |")[2].partition("\n\n")[0].splitlines()
    assert table[0].endswith("| torchconv ms | PyTorch | OpenVINO | the fastest of these |")
    assert table[2:] == [
        "| ResNet-18 | 1 | 8 | 4.00x | 0.50x | 0.50x |",
        "| VGG-11 | 1 | 8 | 1.00x |  | 1.00x |",
        "| **all** | 1 | | 2.00x | 0.50x | 0.71x |",
        "| ResNet-18 | 4 | 8 | 4.00x |  | 4.00x |",
        "| **all** | 4 | | 4.00x |  | 4.00x |",
    ]
    assert "torchconv 0.1.0, PyTorch 9.9, OpenVINO 9.9." in text and "| `bfloat16` |" in text
    assert tables.inference([peer("eager", 2.0)]) == ""


def test_the_first_screen_has_the_best_peer_of_one_image():
    rows = [ROW, peer("eager", 4.0), peer("openvino", 0.5)]
    rows += [replace(row, batch=4, optimized=9.0) for row in rows]
    layers = [replace(LAYER, layout="nchw")]
    text = tables.headline(layers, [], [], [], rows, "conditions")
    assert text.splitlines()[-1].endswith("ONNX Runtime and OpenVINO: ResNet-18 0.50x.")
    assert "OpenVINO" not in tables.headline(layers, [], [], [], [ROW], "conditions")


def test_subjects_have_the_threads_of_torch():
    """Those of other runtimes are told; what they use is theirs to show."""
    ort = pytest.importorskip("onnxruntime")
    given = []

    class Session(ort.InferenceSession):
        def __init__(self, model, options, **others):
            given.append(options.intra_op_num_threads)
            super().__init__(model, options, **others)

    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ort, "InferenceSession", Session)
        subjects._onnxruntime(tiny(), images(1), torch.float32)()
    assert given == [1]

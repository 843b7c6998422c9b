"""The benchmark of the CUDA kernels, as far as it runs without a GPU."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks.cuda import command, csv_rows, layers, machine, peers, timing
from tests.cases import case
from tools import accept

ROOT = Path(__file__).parents[2]
GPU = "Test GPU"

BENCHMARK = (
    sys.executable, "-m", "benchmarks.cuda", "--device", "cpu", "--layers", "^lenet/conv2",
    "--batch", "2", "--dtypes", "tf32", "--csv",
)  # fmt: skip


@pytest.mark.slow
def test_the_benchmark_runs_on_the_cpu_in_place_of_a_gpu(tmp_path):
    """Every column has a value, it is what the acceptance reads, and a second run adds nothing."""
    path = tmp_path / "benchmark.csv"
    for _ in range(2):
        subprocess.run([*BENCHMARK, path], cwd=ROOT, check=True, timeout=120)
        rows = csv_rows.read(path)
        assert len(rows) == 6 and all(float(row["ratio"]) > 0 for row in rows)
    assert {row["op"] for row in rows} == set(peers.OPERATORS)
    assert all(row["status"] == "ok" and row["torch"] == torch.__version__ for row in rows)
    rows = [{**row, "source": "c0ffee"} for row in rows]
    assert accept.entries_of(rows, [], [], "2026-11-24")


FAULTY = """
import os, sys
from benchmarks.cuda import command
ours, error_of = command.ours, command.error_of

def faulty(layer, op, dtype):
    if op == "grad_input":
        if layer.layout == "nchw":
            raise RuntimeError("CUDA error: an illegal\\nmemory access")
        os.kill(os.getpid(), 9)
    call = ours(layer, op, dtype)
    return (lambda i: call(i) + (op == "grad_weight")) if layer.layout == "nhwc" else call

command.ours = faulty
command.main(sys.argv[1:])
"""


@pytest.mark.slow
def test_what_goes_wrong_is_a_row(tmp_path, monkeypatch):
    """A wrong result, an error, and a process that is killed: what comes after is measured."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    program = tmp_path / "faulty.py"
    program.write_text(FAULTY)
    path = tmp_path / "benchmark.csv"
    arguments = peers.parse_arguments("", "", [*BENCHMARK[3:], str(path)])
    command.supervise(arguments, path, [sys.executable, str(program), *BENCHMARK[3:], str(path),
                                     "--worker"])  # fmt: skip
    found = {(row["op"], row["layout"]): row["status"] for row in csv_rows.read(path)}
    assert found == {
        ("forward", "nchw"): "ok",
        ("forward", "nhwc"): "ok",
        ("grad_input", "nchw"): "CUDA error: an illegal memory access",
        ("grad_input", "nhwc"): "the process ended with -9",
        ("grad_weight", "nchw"): "ok",
        ("grad_weight", "nhwc"): "wrong result (limit 0.005)",
    }


@pytest.mark.parametrize("dtype", peers.DTYPES)
def test_a_wrong_result_is_seen(dtype):
    """Neither an element that is off by 3 % of the largest one nor one that is none passes."""
    wanted = layers.named()["lenet/conv2"].with_batch(2)
    layer = peers.Layer.build(wanted, peers.DTYPES[dtype], "nchw", "cpu")
    limit = command.WRONG.get(dtype, 1e-4)
    right = layer.aten("forward")(0)
    assert command.error_of(right, layer, "forward") <= limit
    for value in (0.03 * right.abs().max(), float("nan")):
        wrong = right.clone()
        wrong.view(-1)[5] += value
        assert not command.error_of(wrong, layer, "forward") <= limit


PEER = peers.PeerRow(
    GPU, "9.9", "1", "2.14", "9", "net/layer", "1x1", "forward", "float32", "nhwc", 64, 1.0, 1.0,
    1.0, 1.0, 1.0, "",
)  # fmt: skip


def test_the_rows_so_far_are_kept(tmp_path):
    """After SIGKILL in the middle of a row, and the next run begins where that one began."""
    path = tmp_path / "rows.csv"
    csv_rows.append(path, PEER)
    code = (
        "import os, sys; from pathlib import Path; from benchmarks.cuda import csv_rows;"
        "from tests.benchmarks.test_cuda import PEER; path = Path(sys.argv[1]);"
        "csv_rows.append(path, PEER); file = path.open('a'); file.write('half a r');"
        "file.flush(); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert [row["case"] for row in csv_rows.read(path)] == ["net/layer"] * 2
    csv_rows.append(path, replace(PEER, case="third"))
    assert [row["case"] for row in csv_rows.read(path)] == ["net/layer"] * 2 + ["third"]
    assert "half" not in path.read_text()
    with pytest.raises(ValueError, match="move it away"):
        csv_rows.append(path, machine.Machine("", "", "", "", ""))


def test_telling_layers_are_of_every_kind():
    names = {peers.kind_of(row) for row in layers.telling_layers()}
    assert names == {
        "depthwise", "depthwise large", "grouped", "few channels", "1x1", "dilated", "strided",
        "3x3", "other kernel",
    }  # fmt: skip
    several = [layer.name for layer in layers.telling_layers() if layer.n == layers.BATCH]
    assert several == list(layers.TELLING)


def test_single_images_are_among_the_first_layers():
    single = [row.name for row in layers.telling_layers()[: layers.AT_ONCE] if row.n == 1]
    assert single == list(layers.SINGLE)
    alone = [row.name for row in layers.telling_layers(batch=1)]
    assert alone == list(layers.TELLING)


def test_bytes_of_a_layer():
    layer = case("", 2, 3, 8, 4, 3)
    elements = 2 * 3 * 64 + 4 * 3 * 9 + 2 * 4 * 64
    assert peers.operands_bytes(layer, torch.bfloat16) == 2 * elements
    assert peers.rotated_bytes(layer, torch.bfloat16) == 2 * 2 * 3 * 64
    assert peers.rotated_bytes(replace(layer, k=1), torch.bfloat16) == 2 * 2 * 64


@pytest.mark.parametrize("size, count", [(1, 48), (120 << 20, 2), (1 << 30, 2), (30 << 20, 4)])
def test_operands_rotate_through_more_than_a_cache(size, count):
    assert timing.copies(size) == count


def test_time_of_a_call_is_the_median_of_one(monkeypatch):
    """By a clock that only calls move, each by half a millisecond and the first by ten."""
    seen: list[int] = []
    clock = SimpleNamespace(perf_counter=lambda: 5e-4 * len(seen) + 1e-2 * bool(seen))
    monkeypatch.setattr(timing, "time", clock)
    assert timing.seconds(seen.append, 3, "cpu") == pytest.approx(5e-4)
    assert set(seen) == {0, 1, 2}


def test_precision_is_restored():
    before = torch.backends.cudnn.conv.fp32_precision
    with peers.precision("float32"):
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    with peers.precision("tf32"):
        assert torch.backends.cudnn.conv.fp32_precision == "tf32"
    assert torch.backends.cudnn.conv.fp32_precision == before


def test_benchmark_mode_has_a_thread_of_its_own():
    """Whose gradients are off, as in the thread that waits, and whose errors arrive."""
    before = torch.backends.cudnn.conv.fp32_precision

    def state():
        cudnn = torch.backends.cudnn
        return threading.get_ident(), cudnn.benchmark, cudnn.conv.fp32_precision

    first, second = (peers.tuned("float32", state) for _ in range(2))
    assert first == second == (first[0], True, "ieee") and first[0] != threading.get_ident()
    assert not peers.tuned("tf32", torch.is_grad_enabled)
    assert torch.backends.cudnn.conv.fp32_precision == before
    assert not torch.backends.cudnn.benchmark
    with pytest.raises(ZeroDivisionError):
        peers.tuned("float32", lambda: 1 / 0)


def test_the_winners_come_first():
    """Two layers of each kernel size and stride, in half types before float32."""
    rows = layers.wanted_rows("", "bfloat16,float16,tf32,float32", layers.BATCH)
    assert len(set(rows)) == len(rows)
    seen = list(dict.fromkeys((r.case.r, r.case.stride[0], r.op, r.dtype) for r in rows))
    assert seen[:3] == [(7, 1, "forward", "bfloat16"), (7, 1, "grad_input", "bfloat16"),
                        (31, 1, "forward", "bfloat16")]  # fmt: skip
    dtypes = list(dict.fromkeys(row.dtype for row in rows))
    assert dtypes == ["bfloat16", "float16", "tf32", "float32"]
    names: dict = {}
    for row in layers.winners():
        place = (row.case.r, row.case.stride, *row[1:])
        names.setdefault(place, set()).add(row.case.name)
    assert len(names) == 7 * 3 * 4 * 2 and {len(both) for both in names.values()} == {2}

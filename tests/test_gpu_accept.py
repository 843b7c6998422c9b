"""The command that accepts kernels on a GPU, as far as it runs without one."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import cuda, cuda_csv, cuda_peers, cuda_timing
from tests.cases import case
from tools import accept
from torchconv import _accepted

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "tools" / "gpu_accept.sh"
GPU = "Test GPU"


def run_script(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable, **environment},
    )  # fmt: skip


def limits(text: str) -> dict[str, int]:
    found = re.findall(r"^(\w+) +at most +(\d+) s", text, re.MULTILINE)
    return {stage: int(seconds) for stage, seconds in found}


def test_all_stages_fit_into_nine_minutes():
    done = run_script("--dry-run")
    assert done.returncode == 0
    stages = limits(done.stdout)
    assert list(stages) == ["environment", "build", "tests", "sanitizer", "benchmark", "accept"]
    del stages["build"]  # a library that is there is not built
    assert stages["benchmark"] > 150 and f"--budget {stages['benchmark'] - 40} " in done.stdout
    (total,) = re.findall(r"^total=(\d+)$", SCRIPT.read_text(), re.MULTILINE)
    assert max(stages.values()) < int(total) < 9 * 60


def changed_script(folder: Path, *changes: tuple[str, str]) -> Path:
    """The script with other times, in a checkout where `python` sleeps for 30 seconds."""
    script = folder / "tools" / "gpu_accept.sh"
    script.parent.mkdir()
    text = SCRIPT.read_text()
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    script.write_text(text)
    python = folder / "python"
    python.write_text("#!/bin/sh\nexec sleep 30\n")
    python.chmod(0o755)
    return script


def test_the_peer_map_needs_nothing_of_ours():
    done = run_script("--peer-map", "--dry-run")
    stages = limits(done.stdout)
    assert list(stages) == ["environment", "peers"]
    assert "--csv runs/gpu_accept/peers.csv" in done.stdout
    code = (
        "import sys; sys.modules['torchconv'] = None; import benchmarks.cuda_peers as p;"
        "p.main(['--device', 'cpu', '--layers', '^lenet/conv2', '--batch', '1', '--dtypes', 'tf32',"
        "'--csv', sys.argv[1]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, os.devnull], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "6 of 6 rows" in done.stdout


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--fast"], "unknown argument --fast"),
        (["--out"], "--out needs a value"),
        (["--stages", "tests dance"], "there is no stage dance"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_arguments_are_named(arguments, told):
    done = run_script(*arguments)
    assert done.returncode == 2 and told in done.stderr and not done.stdout


def test_help_describes_every_stage():
    text = run_script("--help").stdout
    for stage in limits(run_script("--dry-run").stdout):
        assert f"  {stage} " in text


def test_nothing_is_accepted_without_tests(tmp_path):
    """Here the tests are a Python that fails, and a benchmark that succeeds does not help."""
    before = _accepted.FILE.read_text()
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\ncase "$*" in *"-m pytest"*) exit 1 ;; esac\n')
    python.chmod(0o755)
    done = run_script("--out", str(tmp_path), "--python", str(python), "--stages",
                      "tests benchmark accept")  # fmt: skip
    assert done.returncode == 1
    assert re.search(r"^tests +failed \(1\)", done.stdout, re.MULTILINE)
    assert re.search(r"^benchmark +passed", done.stdout, re.MULTILINE)
    assert re.search(r"^accept +skipped: it needs tests", done.stdout, re.MULTILINE)
    assert _accepted.FILE.read_text() == before


def run_changed(script: Path, stages: str) -> subprocess.CompletedProcess:
    folder = script.parent.parent
    return subprocess.run(
        ["bash", str(script), "--python", str(folder / "python"), "--stages", stages, "--out",
         str(folder)],
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip


def test_a_stage_ends_at_its_limit(tmp_path):
    script = changed_script(tmp_path, ("[environment]=90", "[environment]=1"))
    done = run_changed(script, "environment")
    assert done.returncode == 1 and "out of time" in done.stdout


def test_a_stage_gets_what_others_have_left(tmp_path):
    """Two seconds beside those that are kept for the last stage: the first one uses them up."""
    done = run_changed(changed_script(tmp_path, ("total=530", "total=22")), "environment tests")
    assert done.returncode == 1
    assert re.findall(r"^== (\w+) \(at most (\d+) s\)", done.stdout, re.MULTILINE) == [
        ("environment", "2"),
        ("tests", "1"),
    ]
    assert done.stdout.count("out of time") == 2


FAKES = {
    "torch.py": """
from types import SimpleNamespace as Fake
listing = lambda: "fast " + open("compiled").read()
ops = Fake(torchconv=Fake(_algorithms_cuda=listing))
cuda = Fake(get_device_capability=lambda: (9, 0))
""",
    "build_cuda.py": "source_hashes = lambda: {'fast': 'c0ffee'}",
    "torchconv/_load.py": "cuda_problem = None",
    "torchconv/__init__.py": "",
    "setup.py": """
import os
open("compiled", "w").write("c0ffee")
print("built for", os.environ["TORCH_CUDA_ARCH_LIST"])
""",
}


@pytest.mark.parametrize("compiled, built", [("c0ffee", False), ("older", True)])
def test_a_library_of_other_sources_is_built_again(tmp_path, compiled, built):
    (tmp_path / "tools").mkdir()
    (tmp_path / "torchconv").mkdir()
    for name, text in FAKES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "compiled").write_text(compiled)
    script = Path(shutil.copy(SCRIPT.parent / "gpu_build.sh", tmp_path / "tools"))
    environment = {k: v for k, v in os.environ.items() if k != "TORCH_CUDA_ARCH_LIST"}
    done = subprocess.run(
        ["bash", str(script), sys.executable], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert ("built for 9.0a" in done.stdout) is built
    assert ("fast was built from another source" in done.stderr) is built


SANITIZER = """#!/bin/sh
case "$*" in *"{tool} "*tools.gpu_small_cases*) echo a hazard; {fail} ;; esac
"""


@pytest.mark.parametrize(
    "tool, fail, code",
    [("none", "exit 1", 0), ("racecheck", "exit 3", 3), ("synccheck", "exit 124", 124)],
)
def test_every_sanitizer_is_heard(tmp_path, tool, fail, code):
    program = tmp_path / "compute-sanitizer"
    program.write_text(SANITIZER.format(tool=tool, fail=fail))
    program.chmod(0o755)
    done = subprocess.run(
        ["bash", str(SCRIPT.parent / "gpu_sanitize.sh"), sys.executable],
        capture_output=True, text=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == code
    assert (f"-- {tool}: exit code {code}\na hazard" in done.stdout) is (code != 0)
    assert done.stdout.count(": exit code 0") == (3 if code else 4)


ROW = dict(
    case="net/layer", algorithm="fast", op="forward", dtype="float16", layout="nhwc",
    source="c0ffee", ratio="1.5",
)  # fmt: skip


def test_the_slowest_layer_decides():
    rows = [ROW, {**ROW, "case": "net/other", "ratio": "0.9"}, {**ROW, "op": "grad_weight"}]
    forward, grad_weight = accept.entries_of(rows, GPU, "2.14", "2026-11-24")
    assert (forward.op, forward.ratio, forward.layers) == ("forward", 0.9, 2)
    assert (grad_weight.op, grad_weight.ratio, grad_weight.layers) == ("grad_weight", 1.5, 1)


@pytest.mark.parametrize(
    "rows", [[{**ROW, "source": ""}], [ROW, {**ROW, "source": "other"}]], ids=["none", "two"]
)
def test_a_measurement_belongs_to_one_source(rows):
    with pytest.raises(ValueError, match="source"):
        accept.entries_of(rows, GPU, "2.14", "2026-11-24")


def write_rows(path: Path, rows) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_measurement_becomes_an_acceptance(tmp_path, capsys):
    """From the CSV of a benchmark to a kernel that may run, and to one that may no longer."""
    path = tmp_path / "accepted.json"
    other = _accepted.Entry("Other", "fast", "forward", "float16", "nhwc", "x", 2.0, 1, "2.11", "")
    _accepted.write([other], path)
    measured = write_rows(tmp_path / "rows.csv", [ROW, {**ROW, "layout": "nchw", "ratio": "0.8"}])
    accept.main([str(measured), "--gpu", GPU, "--file", str(path)])
    assert "2 kernels on Test GPU, 1 of them run by themselves" in capsys.readouterr().out
    accepted = _accepted.load("fast c0ffee\n", path)
    place = (GPU, "fast", "forward", "float16")
    assert accepted.why_not(*place, "nhwc") is None
    assert "0.80" in accepted.why_not(*place, "nchw")
    assert other in _accepted.read(path)

    again = write_rows(tmp_path / "rows.csv", [{**ROW, "ratio": "0.95"}])
    accept.main([str(again), "--gpu", GPU, "--file", str(path)])
    assert "0.95" in _accepted.load("fast c0ffee\n", path).why_not(*place, "nhwc")
    assert len(_accepted.read(path)) == 3


def test_a_csv_without_hashes_is_refused(tmp_path):
    measured = write_rows(tmp_path / "rows.csv", [{**ROW, "source": ""}])
    with pytest.raises(SystemExit, match="nothing was accepted"):
        accept.main([str(measured), "--gpu", GPU, "--file", str(tmp_path / "accepted.json")])
    assert not (tmp_path / "accepted.json").exists()


def test_the_benchmark_runs_on_the_cpu_in_place_of_a_gpu(tmp_path):
    """Every column has a value, and it is what the acceptance reads."""
    path = tmp_path / "rows.csv"
    command = "-m benchmarks.cuda --device cpu --layers ^lenet/conv2 --batch 1 --dtypes tf32 --csv"
    subprocess.run([sys.executable, *command.split(), path], cwd=ROOT, check=True)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 and all(float(row["ratio"]) > 0 for row in rows)
    assert {row["op"] for row in rows} == set(cuda_peers.OPERATORS)
    rows = [{**row, "source": "c0ffee"} for row in rows]
    assert accept.entries_of(rows, GPU, "2.14", "2026-11-24")


PEER = cuda_peers.PeerRow(
    "net/layer", "1x1", "forward", "float32", "nhwc", 64, 1.0, 1.0, 1.0, 1.0, 1.0, ""
)


@pytest.mark.parametrize("dtype", cuda_peers.DTYPES)
def test_a_wrong_result_is_not_measured(dtype):
    """Neither an element that is off by 3 % of the largest one nor one that is none."""
    peer = replace(PEER, dtype=dtype)
    right = torch.linspace(-4, 4, 64).to(cuda_peers.DTYPES[dtype])
    cuda.check(right.clone(), right, peer)
    for value in (0.13, float("nan")):
        wrong = right.clone()
        wrong[5] += value
        with pytest.raises(SystemExit, match=f"net/layer, batch 64, forward in {dtype}, nhwc: .*"):
            cuda.check(wrong, right, peer)


@pytest.mark.parametrize("end", ["error", "SIGTERM"])
def test_the_rows_so_far_are_kept(tmp_path, end):
    def measure_two():
        rows.append(PEER)
        if end == "error":
            raise RuntimeError("out of memory")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    before, rows = signal.getsignal(signal.SIGTERM), []
    path = tmp_path / "rows.csv"
    expected = {"error": (RuntimeError, "out of memory"), "SIGTERM": (SystemExit, "out of time")}
    kind, text = expected[end]
    with pytest.raises(kind, match=text), cuda_csv.kept(path, rows):
        measure_two()
    assert signal.getsignal(signal.SIGTERM) == before
    with path.open(newline="") as file:
        assert [row["case"] for row in csv.DictReader(file)] == ["net/layer"]


def test_telling_layers_are_of_every_kind():
    names = {cuda_peers.kind_of(row) for row in cuda_peers.telling_layers()}
    assert names == {
        "depthwise", "depthwise large", "grouped", "few channels", "1x1", "dilated", "strided",
        "3x3", "other kernel",
    }  # fmt: skip
    several = [layer.name for layer in cuda_peers.telling_layers() if layer.n == cuda_peers.BATCH]
    assert several == list(cuda_peers.TELLING)


def test_single_images_are_among_the_first_layers():
    single = [row.name for row in cuda_peers.telling_layers()[: cuda_peers.AT_ONCE] if row.n == 1]
    assert single == list(cuda_peers.SINGLE)
    alone = [row.name for row in cuda_peers.telling_layers(batch=1)]
    assert alone == list(cuda_peers.TELLING)


def test_bytes_of_a_layer():
    layer = case("", 2, 3, 8, 4, 3)
    elements = 2 * 3 * 64 + 4 * 3 * 9 + 2 * 4 * 64
    assert cuda_peers.operands_bytes(layer, torch.bfloat16) == 2 * elements
    assert cuda_peers.rotated_bytes(layer, torch.bfloat16) == 2 * 2 * 3 * 64
    assert cuda_peers.rotated_bytes(replace(layer, k=1), torch.bfloat16) == 2 * 2 * 64


@pytest.mark.parametrize("size, count", [(1, 48), (120 << 20, 2), (1 << 30, 2), (30 << 20, 4)])
def test_operands_rotate_through_more_than_a_cache(size, count):
    assert cuda_timing.copies(size) == count


def test_time_of_a_call_is_the_median_of_one():
    """Half a millisecond of sleep is neither a nanosecond nor a second."""
    seen = []
    found = cuda_timing.seconds(lambda i: (seen.append(i), time.sleep(5e-4)), 3, "cpu")
    assert 5e-4 <= found < 5e-3
    assert set(seen) == {0, 1, 2}


def test_precision_is_restored():
    before = torch.backends.cudnn.conv.fp32_precision
    with cuda_peers.precision("float32"):
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    with cuda_peers.precision("tf32"):
        assert torch.backends.cudnn.conv.fp32_precision == "tf32"
    assert torch.backends.cudnn.conv.fp32_precision == before


def test_benchmark_mode_has_a_thread_of_its_own():
    """Whose gradients are off, as in the thread that waits, and whose errors arrive."""
    before = torch.backends.cudnn.conv.fp32_precision

    def state():
        cudnn = torch.backends.cudnn
        return threading.get_ident(), cudnn.benchmark, cudnn.conv.fp32_precision

    first, second = (cuda_peers.tuned("float32", state) for _ in range(2))
    assert first == second == (first[0], True, "ieee") and first[0] != threading.get_ident()
    assert not cuda_peers.tuned("tf32", torch.is_grad_enabled)
    assert torch.backends.cudnn.conv.fp32_precision == before
    assert not torch.backends.cudnn.benchmark
    with pytest.raises(ZeroDivisionError):
        cuda_peers.tuned("float32", lambda: 1 / 0)


def test_entries_differ_by_their_place():
    entry = _accepted.Entry(GPU, "fast", "forward", "tf32", "nchw", "x", 1.0, 1, "2.14", "")
    assert replace(entry, ratio=2.0).key == entry.key != replace(entry, dtype="float32").key

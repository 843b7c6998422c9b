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

import build_cuda
from benchmarks import cuda, cuda_csv, cuda_layers, cuda_machine, cuda_peers, cuda_timing
from tests.cases import AWKWARD, case
from tests.cuda import operators
from tests.reference import OPS
from tools import accept, gpu_processes, gpu_smoke, gpu_tests
from torchconv import _accepted, _load

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "tools" / "gpu_accept.sh"
GPU = "Test GPU"
STAGES = ["environment", "build", "smoke", "tests", "sanitizer", "benchmark", "accept"]
needs_library = pytest.mark.skipif(
    _load.cuda_problem is not None, reason=f"CUDA kernels: {_load.cuda_problem}"
)


def run_script(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable, **environment},
    )  # fmt: skip


def limits(text: str) -> dict[str, int]:
    found = re.findall(r"^(\w+) +at most +(\d+) s", text, re.MULTILINE)
    return {stage: int(seconds) for stage, seconds in found}


def test_all_stages_fit_into_one_budget():
    """The build included: an hour that ends a command after ten minutes must not lose its end."""
    for seconds in (560, 100):
        done = run_script("--dry-run", "--seconds", str(seconds))
        assert done.returncode == 0
        stages = limits(done.stdout)
        assert list(stages) == STAGES
        assert max(stages.values()) <= seconds - stages["accept"]
        assert f"--budget {stages['benchmark'] - 20} " in done.stdout
    assert limits(run_script("--dry-run").stdout) == limits(
        run_script("--dry-run", "--seconds", "560").stdout
    )


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
        (["--seconds", "soon"], "--seconds needs a number"),
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
    """Here every program is a Python that does nothing and succeeds, but for the acceptance."""
    before = _accepted.FILE.read_text()
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\ncase "$*" in *tools.accept*) exec {sys.executable} "$@" ;; esac\n'
    )
    python.chmod(0o755)
    out = tmp_path / "out"
    done = run_script("--out", str(out), "--python", str(python), "--stages", "benchmark accept")
    assert done.returncode == 1
    assert "nothing was accepted: there is no row of smoke.csv" in done.stdout
    assert re.search(r"^benchmark +passed", done.stdout, re.MULTILINE)
    assert re.search(r"^accept +failed", done.stdout, re.MULTILINE)
    assert _accepted.FILE.read_text() == before
    assert {path.name for path in out.iterdir()} <= {"log.txt", "gpu_accepted.json"}


def run_changed(script: Path, stages: str) -> subprocess.CompletedProcess:
    folder = script.parent.parent
    return subprocess.run(
        ["bash", str(script), "--python", str(folder / "python"), "--stages", stages, "--out",
         str(folder)],
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip


def test_a_stage_ends_at_its_limit(tmp_path):
    script = changed_script(tmp_path, ("[environment]=12", "[environment]=1"))
    done = run_changed(script, "environment")
    assert done.returncode == 1 and "out of time" in done.stdout


def test_a_stage_gets_what_others_have_left(tmp_path):
    """Three seconds: the first stage may use all of them, and then the second has none."""
    script = changed_script(
        tmp_path, ("seconds=560", "seconds=3"), ("[environment]=12", "[environment]=100")
    )
    done = run_changed(script, "environment tests")
    assert done.returncode == 1
    first, second = re.findall(r"^== (\w+) \(at most (\d+) s\)", done.stdout, re.MULTILINE)
    assert first in (("environment", "3"), ("environment", "2")) and second == ("tests", "1")
    assert done.stdout.count("out of time") == 2
    assert (tmp_path / "log.txt").read_text().count("out of time") == 2


FAKES = {
    "torch.py": """
from types import SimpleNamespace as Fake
listing = lambda: open("compiled").read()
ops = Fake(torchconv=Fake(_algorithms_cuda=listing))
cuda = Fake(get_device_capability=lambda: (9, 0))
""",
    "torchconv/_load.py": "cuda_problem = None",
    "torchconv/__init__.py": "",
    "setup.py": """
import os, shutil
shutil.copy("finished", "compiled")
print("built for", os.environ["TORCH_CUDA_ARCH_LIST"])
""",
}


@pytest.fixture(scope="module")
def listing() -> str:
    """What a library of these sources would list: the real algorithms, of which several are in one
    file, each with the hash of its file."""
    hashes = build_cuda.source_hashes(str(ROOT / "csrc" / "cuda"))
    text = "".join(path.read_text() for path in sorted((ROOT / "csrc" / "cuda").glob("*.cu")))
    pairs = re.findall(r'Algorithm k\w+ = \{\s*"(\w+)",\s*"(\w+)"', text)
    assert len(pairs) > len({file for _, file in pairs}) > 1
    return "".join(f"{name} {hashes[file]}\n" for name, file in pairs)


@needs_library
def test_the_library_lists_what_the_sources_say(listing):
    assert sorted(torch.ops.torchconv._algorithms_cuda().splitlines()) == sorted(
        listing.splitlines()
    )


@pytest.mark.parametrize("stale", [False, True], ids=["current", "stale"])
def test_a_library_of_other_sources_is_built_again(tmp_path, listing, stale):
    """And one of these sources is not, from a single hash that differs on."""
    for name in ("tools", "torchconv"):
        (tmp_path / name).mkdir()
    for name, text in FAKES.items():
        (tmp_path / name).write_text(text)
    shutil.copy(ROOT / "build_cuda.py", tmp_path)
    shutil.copytree(ROOT / "csrc", tmp_path / "csrc")
    old = re.sub(r"(?<=^depthwise ).*", "0" * 16, listing, flags=re.MULTILINE)
    (tmp_path / "compiled").write_text(old if stale else listing)
    (tmp_path / "finished").write_text(listing)
    script = Path(shutil.copy(SCRIPT.parent / "gpu_build.sh", tmp_path / "tools"))
    environment = {k: v for k, v in os.environ.items() if k != "TORCH_CUDA_ARCH_LIST"}
    done = subprocess.run(
        ["bash", str(script), sys.executable], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert ("built for 9.0a" in done.stdout) is stale
    assert ("built from another source: depthwise\n" in done.stderr) is stale


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
    gpu=GPU, capability="9.9", driver="1", torch="2.14", cudnn="9", case="net/layer", batch="64",
    kernel="fast.planes", size="3x3", stride="1x1", dilation="1x1", op="forward", dtype="float16",
    layout="nhwc", source="c0ffee", status="ok", ratio="1.5", eager_ratio="0.7",
)  # fmt: skip
OTHER = {**ROW, "case": "net/other"}
SMOKE = dict(
    capability="9.9",
    kernel="fast.planes",
    op="forward",
    source="c0ffee",
    status="passed",
    detail="",
)
TESTS = dict(capability="9.9", algorithm="fast", source="c0ffee", status="passed", detail="")


def entry(rows, smoke=(SMOKE,), tests=(TESTS,)) -> _accepted.Entry:
    (found,) = accept.entries_of(rows, smoke, tests, "2026-11-24")
    return found


def why_not(found: _accepted.Entry) -> str | None:
    return _accepted.Accepted([found], {"fast": "c0ffee"}).why_not(found.key)


def test_the_slowest_layer_decides_in_a_graph():
    """Not the time Python needs, and not a layer of one image, where the launch decides."""
    alone = {**ROW, "case": "net/third", "batch": "1", "ratio": "0.2"}
    found = entry([ROW, {**OTHER, "ratio": "1.2"}, alone])
    assert (found.ratio, found.eager_ratio, found.layers) == (1.2, 0.7, 2)
    assert why_not(found) is None
    assert "0.90" in why_not(entry([ROW, {**OTHER, "ratio": "0.9"}]))
    assert "one layer" in why_not(entry([ROW, ROW]))
    assert not accept.entries_of([alone], [SMOKE], [TESTS], "")


@pytest.mark.parametrize(
    "name, value",
    [("kernel", "fast.channels"), ("size", "5x5"), ("stride", "2x2"), ("op", "grad_input")],
)
def test_a_slow_kernel_keeps_no_other_out(name, value):
    slow = [{**row, name: value, "ratio": "0.5"} for row in (ROW, OTHER)]
    found = accept.entries_of(
        [ROW, OTHER, *slow], [SMOKE, {**SMOKE, name: value}], [TESTS], "2026-11-24"
    )
    assert [why_not(one) is None for one in found] == [True, False]


@pytest.mark.parametrize(
    "smoke, tests, told",
    [
        ([], [TESTS], "no smoke run of it"),
        ([SMOKE], [], "no tests of it"),
        ([{**SMOKE, "source": "older"}], [TESTS], "no smoke run of it"),
        ([{**SMOKE, "capability": "8.0"}], [TESTS], "no smoke run of it"),
        ([SMOKE, {**SMOKE, "status": "failed", "detail": "off"}], [TESTS], "failed: off"),
        ([SMOKE], [{**TESTS, "status": "out of time"}], "out of time"),
        ([SMOKE], [{**TESTS, "status": "ended by signal 6"}], "ended by signal 6"),
    ],
)
def test_a_kernel_that_was_not_tried_or_failed_is_not_accepted(smoke, tests, told):
    assert told in why_not(entry([ROW, OTHER], smoke, tests))


def test_what_fails_elsewhere_forbids_nothing():
    """Another algorithm, another kernel of this one, torch.compile; and time can be had again."""
    smoke = [SMOKE, {**SMOKE, "kernel": "fast.any", "status": "failed"},
             {**SMOKE, "op": "grad_weight", "status": "failed"}]  # fmt: skip
    tests = [{**TESTS, "status": "out of time"}, TESTS,
             {**TESTS, "algorithm": "-", "status": "failed"},
             {**TESTS, "algorithm": "slow", "status": "failed"}]  # fmt: skip
    assert why_not(entry([ROW, OTHER], smoke, tests)) is None


def test_a_wrong_result_keeps_its_kernel_out():
    wrong = {**ROW, "case": "net/third", "status": "wrong result", "ratio": "nan"}
    assert "net/third: wrong result" in why_not(entry([ROW, OTHER, wrong]))


@pytest.mark.parametrize(
    "rows", [[{**ROW, "source": ""}], [ROW, {**ROW, "source": "other"}]], ids=["none", "two"]
)
def test_a_measurement_belongs_to_one_source(rows):
    with pytest.raises(ValueError, match="source"):
        accept.entries_of(rows, [SMOKE], [TESTS], "2026-11-24")


def write_rows(path: Path, rows, ending: str = "") -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
        file.write(ending)


def test_a_measurement_becomes_an_acceptance(tmp_path, capsys):
    """From the files of a run that was cut off in the middle of a row to a kernel that may run."""
    path = tmp_path / "accepted.json"
    other = replace(entry([ROW]), capability="8.0")
    _accepted.write([other], path)
    slow = [{**row, "layout": "nchw", "ratio": "0.8"} for row in (ROW, OTHER)]
    write_rows(tmp_path / "benchmark.csv", [ROW, OTHER, *slow], f"{GPU},9.9,1,2.14,9,net/third")
    write_rows(tmp_path / "smoke.csv", [SMOKE])
    write_rows(tmp_path / "tests.csv", [TESTS])
    accept.main([str(tmp_path), "--file", str(path)])
    assert "2 entries, 1 of them let a kernel run by itself" in capsys.readouterr().out
    accepted = _accepted.load("fast c0ffee\n", path)
    key = accept.key_of(ROW)
    assert accepted.why_not(key) is None
    assert "0.80" in accepted.why_not(key._replace(layout="nchw"))
    assert other in _accepted.read(path)

    write_rows(tmp_path / "benchmark.csv", [{**ROW, "ratio": "0.95"}, OTHER])
    accept.main([str(tmp_path), "--file", str(path)])
    assert "0.95" in _accepted.load("fast c0ffee\n", path).why_not(key)
    assert len(_accepted.read(path)) == 3


@pytest.mark.parametrize("missing", accept.FILES)
def test_nothing_is_accepted_from_half_of_the_files(tmp_path, missing):
    for name, rows in zip(accept.FILES, ([SMOKE], [TESTS], [ROW]), strict=True):
        if name != missing:
            write_rows(tmp_path / name, rows)
    with pytest.raises(SystemExit, match=f"nothing was accepted: there is no row of {missing}"):
        accept.main([str(tmp_path), "--file", str(tmp_path / "accepted.json")])
    assert not (tmp_path / "accepted.json").exists()


BENCHMARK = (
    sys.executable, "-m", "benchmarks.cuda", "--device", "cpu", "--layers", "^lenet/conv2",
    "--batch", "2", "--dtypes", "tf32", "--csv",
)  # fmt: skip


def test_the_benchmark_runs_on_the_cpu_in_place_of_a_gpu(tmp_path):
    """Every column has a value, it is what the acceptance reads, and a second run adds nothing."""
    path = tmp_path / "benchmark.csv"
    for _ in range(2):
        subprocess.run([*BENCHMARK, path], cwd=ROOT, check=True, timeout=120)
        rows = cuda_csv.read(path)
        assert len(rows) == 6 and all(float(row["ratio"]) > 0 for row in rows)
    assert {row["op"] for row in rows} == set(cuda_peers.OPERATORS)
    assert all(row["status"] == "ok" and row["torch"] == torch.__version__ for row in rows)
    rows = [{**row, "source": "c0ffee"} for row in rows]
    assert accept.entries_of(rows, [], [], "2026-11-24")


FAULTY = """
import os, sys
from benchmarks import cuda
ours, error_of = cuda.ours, cuda.error_of

def faulty(layer, op, dtype):
    if op == "grad_input":
        if layer.layout == "nchw":
            raise RuntimeError("CUDA error: an illegal\\nmemory access")
        os.kill(os.getpid(), 9)
    call = ours(layer, op, dtype)
    return (lambda i: call(i) + (op == "grad_weight")) if layer.layout == "nhwc" else call

cuda.ours = faulty
cuda.main(sys.argv[1:])
"""


def test_what_goes_wrong_is_a_row(tmp_path):
    """A wrong result, an error, and a process that is killed: what comes after is measured."""
    program = tmp_path / "faulty.py"
    program.write_text(FAULTY)
    path = tmp_path / "benchmark.csv"
    arguments = cuda_peers.parse_arguments("", "", [*BENCHMARK[3:], str(path)])
    cuda.supervise(arguments, path, [sys.executable, str(program), *BENCHMARK[3:], str(path),
                                     "--worker"])  # fmt: skip
    found = {(row["op"], row["layout"]): row["status"] for row in cuda_csv.read(path)}
    assert found == {
        ("forward", "nchw"): "ok",
        ("forward", "nhwc"): "ok",
        ("grad_input", "nchw"): "CUDA error: an illegal memory access",
        ("grad_input", "nhwc"): "the process ended with -9",
        ("grad_weight", "nchw"): "ok",
        ("grad_weight", "nhwc"): "wrong result (limit 0.005)",
    }


@pytest.mark.parametrize("dtype", cuda_peers.DTYPES)
def test_a_wrong_result_is_seen(dtype):
    """Neither an element that is off by 3 % of the largest one nor one that is none passes."""
    wanted = cuda_layers.named()["lenet/conv2"].with_batch(2)
    layer = cuda_peers.Layer.build(wanted, cuda_peers.DTYPES[dtype], "nchw", "cpu")
    limit = cuda.WRONG.get(dtype, 1e-4)
    right = layer.aten("forward")(0)
    assert cuda.error_of(right, layer, "forward") <= limit
    for value in (0.03 * right.abs().max(), float("nan")):
        wrong = right.clone()
        wrong.view(-1)[5] += value
        assert not cuda.error_of(wrong, layer, "forward") <= limit


PEER = cuda_peers.PeerRow(
    GPU, "9.9", "1", "2.14", "9", "net/layer", "1x1", "forward", "float32", "nhwc", 64, 1.0, 1.0,
    1.0, 1.0, 1.0, "",
)  # fmt: skip


def test_the_rows_so_far_are_kept(tmp_path):
    """After SIGKILL in the middle of a row, and the next run begins where that one began."""
    path = tmp_path / "rows.csv"
    cuda_csv.append(path, PEER)
    code = (
        "import os, sys; from pathlib import Path; from benchmarks import cuda_csv;"
        "from tests.test_gpu_accept import PEER; path = Path(sys.argv[1]);"
        "cuda_csv.append(path, PEER); file = path.open('a'); file.write('half a r');"
        "file.flush(); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert [row["case"] for row in cuda_csv.read(path)] == ["net/layer"] * 2
    cuda_csv.append(path, replace(PEER, case="third"))
    assert [row["case"] for row in cuda_csv.read(path)] == ["net/layer"] * 2 + ["third"]
    assert "half" not in path.read_text()
    with pytest.raises(ValueError, match="move it away"):
        cuda_csv.append(path, cuda_machine.Machine("", "", "", "", ""))


def test_a_process_takes_no_other_with_it():
    """One that crashes, one that hangs, one that would begin too late."""
    python = (sys.executable, "-c")
    commands = {
        "good": [*python, "print('fine')"],
        "crash": [*python, "import os; print('before'); os.abort()"],
        "hang": ["sleep", "60"],
    }
    ended = {}
    left = gpu_processes.run_all(commands, 3, time.monotonic() + 30, 2, ended.__setitem__)
    assert left == 0 and ended.keys() == commands.keys()
    assert ended["good"].code == 0 and ended["good"].output == "fine\n"
    assert ended["crash"].code == -signal.SIGABRT and "before" in ended["crash"].output
    assert ended["hang"].code is None and 3 <= ended["hang"].seconds < 20
    assert gpu_processes.run_all(commands, 3, time.monotonic() - 1, 2, ended.__setitem__) == 3


@needs_library
def test_the_smoke_run_takes_every_kernel():
    """Every kernel that computes any layer of the tests or of the benchmark, for each operator."""
    seen = set()
    for row in (*AWKWARD, *cuda_layers.named().values()):
        if row.n == 0:
            continue
        for dtype in (torch.float32, torch.bfloat16):
            for channels_last in (False, True):
                for op in OPS:
                    seen.add((operators.kernel_of(op, row, dtype, channels_last), op))
    smoked = gpu_smoke.jobs()
    assert seen <= smoked.keys() and len(seen) > 15
    assert {kernel.partition(".")[0] for kernel, _ in smoked} == set(operators.algorithms())
    sizes = {(job[0].r, job[0].stride) for job in smoked["depthwise.planes", "forward"]}
    assert sizes >= {(3, (1, 1)), (3, (2, 2)), (5, (1, 1)), (5, (2, 2)), (7, (1, 1))}


@needs_library
def test_a_smoke_run_on_the_cpu(tmp_path, monkeypatch, capsys):
    wanted = {pair: found[:2] for pair, found in gpu_smoke.jobs().items() if pair[0] == "small"}
    monkeypatch.setattr(gpu_smoke, "jobs", lambda: wanted)
    with pytest.raises(SystemExit) as ended:
        gpu_smoke.main(["--device", "cpu", "--csv", str(tmp_path / "smoke.csv")])
    assert not ended.value.code, capsys.readouterr().out
    rows = cuda_csv.read(tmp_path / "smoke.csv")
    assert [row["status"] for row in rows] == ["passed"] * 3 and {row["op"] for row in rows} == set(
        OPS
    )
    assert len(rows[0]["source"]) == 16
    monkeypatch.setattr(gpu_smoke, "run", lambda *_: torch.zeros(1))
    with pytest.raises(AssertionError):
        gpu_smoke.run_job("small", "forward", "cpu")


@pytest.mark.parametrize(
    "code, output, status, passed",
    [
        (0, "====\n12 passed, 3 skipped in 1.20s\n", "passed", 12),
        (0, "15 skipped in 1.20s", "nothing was run", 0),
        (1, "FAILED a\n2 failed, 1 passed, 1 error in 61.20s (0:01:01)", "failed", 1),
        (3, "!!! Exit: the GPU is lost !!!\n9 passed in 3.0s", "pytest ended with 3", 9),
        (4, "ERROR: file or directory not found", "pytest ended with 4", 0),
        (-6, "", "ended by signal 6", 0),
        (None, "", "out of time", 0),
    ],
)
def test_what_pytest_says_is_understood(code, output, status, passed):
    number = gpu_tests.counts(output)
    assert gpu_tests.status_of(gpu_processes.Ended(code, output, 1.0), number) == status
    assert number["passed"] == passed


def test_the_tests_of_a_gpu_can_be_run_for_one_algorithm(tmp_path):
    """In a Python without a GPU they are skipped; what is chosen is seen in a copy of theirs."""
    folder = tmp_path / "tests" / "cuda"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "cuda" / "conftest.py", folder)
    (folder / "test_some.py").write_text(
        "import pytest\nfrom tests.cuda import operators\n"
        "@pytest.mark.each_algorithm\ndef test_each(): print('only', operators.only)\n"
        "def test_other(): print('only', operators.only)\n"
    )
    for name, test, only in (("small", "test_each", "small"), ("-", "test_other", "None")):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-rA", "-q", "-p", "no:cacheprovider", "--noconftest",
             "-p", "tests.cuda.conftest", "--strict-markers", folder, "--algorithm", name,
             "--deselect", "none"],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        assert f"::{test}" in done.stdout and f"only {only}" in done.stdout, done.stdout
        assert "1 deselected" in done.stdout


def test_telling_layers_are_of_every_kind():
    names = {cuda_peers.kind_of(row) for row in cuda_layers.telling_layers()}
    assert names == {
        "depthwise", "depthwise large", "grouped", "few channels", "1x1", "dilated", "strided",
        "3x3", "other kernel",
    }  # fmt: skip
    several = [layer.name for layer in cuda_layers.telling_layers() if layer.n == cuda_layers.BATCH]
    assert several == list(cuda_layers.TELLING)


def test_single_images_are_among_the_first_layers():
    single = [row.name for row in cuda_layers.telling_layers()[: cuda_layers.AT_ONCE] if row.n == 1]
    assert single == list(cuda_layers.SINGLE)
    alone = [row.name for row in cuda_layers.telling_layers(batch=1)]
    assert alone == list(cuda_layers.TELLING)


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


def test_the_winners_come_first():
    """Two layers of each kernel size and stride, in half types before float32."""
    rows = cuda_layers.wanted_rows("", "bfloat16,float16,tf32,float32", cuda_layers.BATCH)
    assert len(set(rows)) == len(rows)
    seen = list(dict.fromkeys((r.case.r, r.case.stride[0], r.op, r.dtype) for r in rows))
    assert seen[:3] == [(7, 1, "forward", "bfloat16"), (7, 1, "grad_input", "bfloat16"),
                        (31, 1, "forward", "bfloat16")]  # fmt: skip
    dtypes = list(dict.fromkeys(row.dtype for row in rows))
    assert dtypes == ["bfloat16", "float16", "tf32", "float32"]
    layers: dict = {}
    for row in cuda_layers.winners():
        place = (row.case.r, row.case.stride, *row[1:])
        layers.setdefault(place, set()).add(row.case.name)
    assert len(layers) == 7 * 3 * 4 * 2 and {len(names) for names in layers.values()} == {2}

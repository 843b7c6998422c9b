"""What the stages of the acceptance run, as far as a GPU is not needed: the build, the sanitizers,
the smoke run and the tests."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import build_cuda
from benchmarks.cuda import csv_rows, layers
from tests.awkward import AWKWARD
from tests.cuda.gpu import operators
from tests.reference import OPS
from tools import gpu_processes, gpu_smoke, gpu_tests
from torchconv._operators import load

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "gpu_accept.sh"
needs_library = pytest.mark.skipif(
    load.cuda_problem is not None, reason=f"CUDA kernels: {load.cuda_problem}"
)


FAKES = {
    "torch.py": """
from types import SimpleNamespace as Fake
listing = lambda: open("compiled").read()
ops = Fake(torchconv=Fake(_algorithms_cuda=listing))
cuda = Fake(get_device_capability=lambda: (9, 0))
""",
    "torchconv/_operators/load.py": "cuda_problem = None",
    "torchconv/__init__.py": "",
    "setup.py": """
import os, shutil
shutil.copy("finished", "compiled")
print("built for", os.environ["TORCH_CUDA_ARCH_LIST"])
""",
}


@pytest.fixture(scope="module")
def listing() -> str:
    """What a library of these sources would list: the real algorithms, each with the hash of its
    file."""
    hashes = build_cuda.source_hashes(str(ROOT / "csrc" / "cuda"))
    text = "".join(path.read_text() for path in sorted((ROOT / "csrc" / "cuda").rglob("*.cu")))
    pairs = re.findall(r'Algorithm k\w+ = \{\s*"(\w+)",\s*"(\w+)"', text)
    assert len(pairs) > 1
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
        (tmp_path / name).parent.mkdir(exist_ok=True)
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


def test_a_process_takes_no_other_with_it():
    """One that crashes, one that hangs, one that would begin too late."""
    commands = {
        "good": ["sh", "-c", "echo fine"],
        "crash": ["sh", "-c", "echo before; kill -ABRT $$"],
        "hang": ["sleep", "60"],
    }
    ended = {}
    left = gpu_processes.run_all(commands, 3, time.monotonic() + 30, 2, ended.__setitem__)
    assert left == 0 and ended.keys() == commands.keys()
    assert ended["good"].code == 0 and ended["good"].output == "fine\n"
    assert ended["crash"].code == -signal.SIGABRT and "before" in ended["crash"].output
    assert ended["hang"].code is None and 2 <= ended["hang"].seconds < 20
    assert gpu_processes.run_all(commands, 3, time.monotonic() - 1, 2, ended.__setitem__) == 3


@needs_library
def test_the_smoke_run_takes_every_kernel():
    """Every kernel that computes any layer of the tests or of the benchmark, for each operator."""
    seen = set()
    for row in (*AWKWARD, *layers.named().values()):
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
    wanted = {pair: found[:2] for pair, found in gpu_smoke.jobs().items() if pair[0] == "grouped"}
    monkeypatch.setattr(gpu_smoke, "jobs", lambda: wanted)
    with pytest.raises(SystemExit) as ended:
        gpu_smoke.main(["--device", "cpu", "--csv", str(tmp_path / "smoke.csv")])
    assert not ended.value.code, capsys.readouterr().out
    rows = csv_rows.read(tmp_path / "smoke.csv")
    assert [row["status"] for row in rows] == ["passed"] * 3 and {row["op"] for row in rows} == set(
        OPS
    )
    assert len(rows[0]["source"]) == 16
    monkeypatch.setattr(gpu_smoke, "run", lambda *_: torch.zeros(1))
    with pytest.raises(AssertionError):
        gpu_smoke.run_job("grouped", "forward", "cpu")


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
    """Which ones are chosen is seen by two that need no GPU."""
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "@pytest.mark.each_algorithm\ndef test_each(): pass\n"
        "def test_other(): pass\n"
    )
    for name, chosen in (("grouped", "test_each"), ("-", "test_other")):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider",
             "-p", "tests.cuda.gpu.conftest", "--strict-markers", tmp_path, "--algorithm", name],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        assert re.findall(r"::(\w+)", done.stdout) == [chosen], done.stdout + done.stderr

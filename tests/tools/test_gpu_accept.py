"""The command that accepts kernels on a GPU, as far as it runs without one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from torchconv._gpu import acceptance

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "gpu_accept.sh"
GPU = "Test GPU"
STAGES = ["environment", "build", "smoke", "tests", "sanitizer", "benchmark", "accept"]


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


def test_a_dry_run_tells_the_same_at_any_time():
    """The clock may tick while it prints: no stage has used anything."""
    assert limits(run_script("--dry-run", SECONDS="7").stdout) == limits(
        run_script("--dry-run", SECONDS="0").stdout
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
        "import sys; sys.modules['torchconv'] = None; import benchmarks.cuda.peers as p;"
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
    before = acceptance.FILE.read_text()
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
    assert acceptance.FILE.read_text() == before
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

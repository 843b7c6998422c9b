"""The commands of README.md: what each target of the Makefile sets up, and what a source
distribution brings along. A recorder stands for the interpreter, so that nothing is downloaded or
compiled.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PYTHON = """#!/bin/sh
echo "CUDA=$TORCHCONV_CUDA REQUIRE=$TORCHCONV_REQUIRE_NATIVE python $*" >>"{log}"
case "$*" in *build_ext*) touch "{root}/torchconv/_C.abi3.so" ;; esac
"""
BUILD = "python setup.py build_ext --inplace"

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Runs targets in a copy of the sources, and returns the commands that Python was to run."""
    for name in (
        "MAKEFLAGS",
        "MAKELEVEL",
        "TORCHCONV_CUDA",
        "FORCE_CUDA",
        "TORCHCONV_REQUIRE_NATIVE",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("Makefile", "setup.py", "build_cuda.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "csrc", tmp_path / "csrc")
    (tmp_path / "torchconv").mkdir()
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    log = tmp_path / "log"
    python.write_text(PYTHON.format(log=log, root=tmp_path))
    for name in ("python", "ruff", "clang-format", "pyright"):
        tool = python.with_name(name)
        if name != "python":
            tool.write_text("#!/bin/sh\n")
        tool.chmod(0o755)

    def run(*targets: str, **environment: str) -> list[str]:
        log.write_text("")
        subprocess.run(
            ["make", "-C", tmp_path, *targets],
            check=True, capture_output=True, text=True, env={**os.environ, **environment},
        )  # fmt: skip
        return log.read_text().splitlines()

    run.folder = tmp_path
    return run


def named(commands: list[str], part: str) -> list[str]:
    return [command for command in commands if part in command]


@needs_make
def test_training_needs_no_more_than_training_needs(make):
    commands = make("train")
    (build,) = named(commands, BUILD)
    assert build.startswith("CUDA=0 ")
    assert not named(commands, "[dev]") and named(commands, "[examples]")[0].startswith("CUDA=0 ")
    assert "python -m examples.train" in commands[-1] and "REQUIRE=1" in commands[-1]
    assert len(make("train")) == 1  # the second time it trains at once


@needs_make
def test_tests_add_the_cuda_kernels_to_what_training_has_built(make):
    make("train")
    commands = make("test")
    assert [command.partition(" ")[0] for command in named(commands, BUILD)] == ["CUDA=toolkit"]
    assert named(commands, "[dev]") and not named(commands, "torchvision")
    assert "python -m pytest" in commands[-1] and "REQUIRE=1" in commands[-1]
    for target, count in (("test", 1), ("train", 1), ("bench", 1), ("lint", 0), ("build", 0)):
        assert len(make(target)) == count


@needs_make
def test_one_command_builds_everything_for_tests(make):
    commands = make("test")
    assert [command.partition(" ")[0] for command in named(commands, BUILD)] == [
        "CUDA=0",
        "CUDA=toolkit",
    ]
    assert len(make("train")) == 1


@needs_make
def test_the_cuda_kernels_of_the_tests_can_be_chosen(make):
    assert not [one for one in make("test", TORCHCONV_CUDA="0") if not one.startswith("CUDA=0")]
    (build,) = named(make("test", FORCE_CUDA="1"), BUILD)  # left out before, and so built now
    assert build.startswith("CUDA=1 ")


@needs_make
@pytest.mark.parametrize(
    "changed, built",
    [
        ("csrc/cpu/plan.h", ["CUDA=0"]),
        ("csrc/cuda/gemm/general.cuh", ["CUDA=toolkit"]),
        ("build_cuda.py", ["CUDA=toolkit"]),
        ("csrc/conv2d.h", ["CUDA=0", "CUDA=toolkit"]),
        ("setup.py", ["CUDA=0", "CUDA=toolkit"]),
    ],
)
def test_a_change_builds_what_it_changes(make, changed, built):
    make("test")
    later = (make.folder / "torchconv" / "_C.abi3.so").stat().st_mtime + 5
    os.utime(make.folder / changed, (later, later))
    commands = make("test")
    assert [command.partition(" ")[0] for command in named(commands, BUILD)] == built
    assert not named(commands, "pip install")


@needs_make
def test_cleaning_keeps_what_the_user_has_made(make):
    make("test")
    kept = [make.folder / "runs" / "digits" / "checkpoint.pt", make.folder / "data" / "mnist.gz"]
    for path in kept:
        path.parent.mkdir(parents=True)
        path.touch()
    (make.folder / "build").mkdir()
    make("clean")
    assert all(path.exists() for path in kept)
    assert not (make.folder / "build").exists() and not list((make.folder / "torchconv").iterdir())
    assert len(named(make("test"), BUILD)) == 2


def test_a_source_distribution_holds_the_repository(tmp_path):
    """Everything that README.md uses, such as `make train`, and nothing that was built here."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0 or not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    files = {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}
    for name in files:
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    built = ["torchconv/_C.abi3.so", "tests/__pycache__/cases.cpython-311.pyc", "build/lib/a.o"]
    for name in [*built, "runs/digits/checkpoint.pt", "data/mnist.gz", ".venv/bin/python"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    command = [sys.executable, "setup.py", "-q", "sdist", "--formats=gztar"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "dist").glob("*.tar.gz")
    with tarfile.open(path) as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
    found = {member.name.split("/", 1)[1]: member for member in members}
    generated = {name for name in found if ".egg-info/" in name} | {"PKG-INFO", "setup.cfg"}
    assert set(found) - generated == files
    for name in files:
        assert bool(found[name].mode & 0o100) == os.access(ROOT / name, os.X_OK), name

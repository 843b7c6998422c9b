"""The workflows call what there is, with the versions that the package states."""

from __future__ import annotations

import importlib.util
import re

import pytest

from tools import check_wheel
from tools.check_objects import ROOT
from torchconv._operators.load import MINIMUM_TORCH

yaml = pytest.importorskip("yaml")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def commands() -> list[str]:
    jobs = [job for path in WORKFLOWS for job in yaml.safe_load(path.read_text())["jobs"].values()]
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


def test_every_command_exists():
    (targets,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
    made = [name for line in commands() for name in re.findall(r"^make (\w+)", line)]
    assert {"lint", "test", "sanitize", "gallery"} <= set(made) <= set(targets.split())
    modules = [name for line in commands() for name in re.findall(r"-m (tools\.\w+)", line)]
    assert "tools.check_wheel" in modules
    assert all(importlib.util.find_spec(name) for name in modules)


def test_the_oldest_pytorch_is_the_same_everywhere():
    """What is stated, compiled against, tested, and tried with the wheel."""
    oldest = ".".join(map(str, MINIMUM_TORCH))
    exact = f"torch=={oldest}.*"
    package = (ROOT / "pyproject.toml").read_text()
    assert f'dependencies = ["torch>={oldest}"]' in package
    assert exact in re.search(r"^before-build = .*$", package, re.M)[0]
    assert exact in check_wheel.TORCHES
    for name in ("tests.yml", "wheels.yml"):
        assert exact in (ROOT / ".github" / "workflows" / name).read_text()
    assert f"TORCH_FLOOR = {MINIMUM_TORCH}" in (ROOT / "setup.py").read_text()

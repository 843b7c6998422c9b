"""What users are told about the process: show_config for bug reports, and lines through logging."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import torch

import torchconv

ROOT = Path(__file__).parents[2]


def line(name: str) -> str:
    """What show_config says after ``name:``."""
    (found,) = re.findall(rf"^{re.escape(name)}: (.*)$", torchconv.show_config(), re.MULTILINE)
    return found


def test_show_config_tells_versions_and_settings(monkeypatch):
    monkeypatch.setenv("TORCHCONV_VERBOSE", "0")
    with torchconv.backend("aten"):
        text = torchconv.show_config()
    for part in (torchconv.__version__, torch.__version__, "aten", "TORCHCONV_VERBOSE=0"):
        assert part in text
    assert torch.ops.torchconv._isa() in text


def test_show_config_tells_the_machine():
    assert platform.system() in line("system") and platform.machine() in line("system")
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and "model name" in cpuinfo.read_text():
        assert re.search(rf"model name\s*: {re.escape(line('CPU'))}$", cpuinfo.read_text(), re.M)
    else:
        assert line("CPU")


def test_show_config_tells_the_compiler():
    """The one whose name compilers leave in what they compile."""
    comment = subprocess.run(
        ["readelf", "-p", ".comment", *Path(torchconv.__file__).parent.glob("_C.*so")],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    name, version = re.search(
        r"compiled by (GCC|Clang) (\d+\.\d+\.\d+)", line("CPU kernels")
    ).groups()
    assert re.search(rf"{name}.* {re.escape(version)}|{name.lower()} version {version}", comment)


def test_show_config_tells_memory():
    import psutil

    process, machine = map(float, re.findall(r"([\d.]+) GiB", line("memory")))
    assert abs(machine - psutil.virtual_memory().total / 2**30) < 0.02
    assert abs(process - psutil.Process().memory_info().rss / 2**30) < 0.05


def test_show_config_tells_how_pytorch_runs_in_parallel():
    torch.set_num_threads(1)
    settings = line("PyTorch's parallel settings")
    assert "at::get_num_threads() 1," in settings and "OMP_NUM_THREADS" in settings
    assert re.search(r"ATen parallel backend: \w+", settings)


def import_with_isa(level: str, logging: str = "pass") -> subprocess.CompletedProcess[str]:
    use = "x = torch.ones(1, 1, 1, 1); torchconv.conv2d(x, x)"
    return subprocess.run(
        [sys.executable, "-c", f"{logging}; import torch, torchconv; {use}"],
        capture_output=True, text=True, check=True, cwd=ROOT,
        env={**os.environ, "TORCHCONV_ISA": level},
    )  # fmt: skip


def test_an_unknown_isa_level_is_told_through_logging():
    """So that a program can format it, keep it or switch it off, which it cannot what C prints."""
    done = import_with_isa("sse9")
    assert done.stderr.count("TORCHCONV_ISA=sse9") == 1  # heard by default
    used = torch.ops.torchconv._isa() if not os.environ.get("TORCHCONV_ISA") else ""
    handler = "import logging; logging.basicConfig(format='%(name)s %(levelname)s: %(message)s')"
    done = import_with_isa("sse9", handler)
    assert done.stderr.strip().startswith("torchconv WARNING: TORCHCONV_ISA=sse9 is not supported")
    assert used in done.stderr
    off = "import logging; logging.getLogger('torchconv').setLevel('ERROR')"
    assert import_with_isa("sse9", off).stderr == ""
    assert import_with_isa("portable").stderr == import_with_isa("").stderr == ""


def test_no_line_is_printed_but_the_trace():
    """Whatever else is to be told goes through warnings or logging."""
    suffixes = {".cpp", ".h", ".cu", ".cuh"}
    kernels = [path for path in (ROOT / "csrc").rglob("*") if path.suffix in suffixes]
    assert len(kernels) > 50
    printing = re.compile(r"\b(f?printf|puts|fputs)\s*\(|std::c(err|out|log)\b")
    found = {path.name for path in kernels if printing.search(path.read_text())}
    # The trace that TORCHCONV_VERBOSE=1 asks for.
    assert found == {"operators.h"}
    for path in {*(ROOT / "torchconv").glob("*.py")} - {ROOT / "torchconv" / "__main__.py"}:
        assert not re.search(r"^\s*print\(", path.read_text(), re.MULTILINE), path.name

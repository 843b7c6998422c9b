"""What the shared library asks of its user's machine: torch's stable ABI, any CPython from 3.10 and
no CUDA. Its instructions are checked in test_check_objects.py."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import torchconv
from tools.check_wheel import UNSTABLE

LIBRARIES = sorted(Path(torchconv.__file__).parent.glob("_C.*so"))

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="an ELF library")


def output_of(tool: str, *arguments: str, library: Path = LIBRARIES[0]) -> str:
    if shutil.which(tool) is None:
        pytest.skip(f"needs {tool}")
    command = [tool, *arguments, str(library)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def undefined_symbols(library: Path = LIBRARIES[0]) -> list[str]:
    lines = output_of("nm", "-D", "-C", "--undefined-only", library=library).splitlines()
    return [line.split(maxsplit=1)[1] for line in lines]


def test_one_library_for_every_python():
    assert [path.name for path in LIBRARIES] == ["_C.abi3.so"]


def test_stable_abi_of_torch_only():
    """Every symbol of torch is one of its C functions: no C++ of ATen or c10, whose names and
    layouts change with every release."""
    symbols = undefined_symbols()
    assert any(symbol.startswith("aoti_torch_") for symbol in symbols)
    assert [symbol for symbol in symbols if UNSTABLE.search(symbol)] == []


def test_stable_abi_of_python_only():
    """The module needs nothing of CPython but what its limited API has had since 3.10."""
    used = {symbol for symbol in undefined_symbols() if re.match(r"_?Py", symbol)}
    assert used <= {"PyModule_Create2"}


def test_links_no_cuda_and_no_openmp():
    """A library that links one of them does not load, or starts a second thread pool, where torch
    comes without it."""
    needed = re.findall(r"NEEDED.*\[(.*)\]", output_of("readelf", "-d"))
    assert "libtorch_cpu.so" in needed
    forbidden = re.compile(r"cuda|cudart|python|gomp|iomp|omp\.so")
    assert [name for name in needed if forbidden.search(name)] == []


def test_exports_its_module_only():
    """Internal names of two extensions in one process must not meet."""
    lines = output_of("nm", "-D", "-C", "--defined-only").splitlines()
    names = [line.split(maxsplit=2)[2] for line in lines]
    assert "PyInit__C" in names
    assert [name for name in names if "torchconv" in name] == []

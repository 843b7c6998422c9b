"""What the shared library asks of its user's machine: torch's stable ABI, any CPython from 3.10,
no CUDA, and no instruction that was not chosen at run time."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

import torchconv

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
    unstable = re.compile(r"\b(at|c10|torch|caffe2)::")
    assert [symbol for symbol in symbols if unstable.search(symbol)] == []


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


@cache
def functions_by_register() -> dict[str, set[str]]:
    """The functions that use 512-bit registers, 256-bit registers, and any VEX or EVEX encoding."""
    found: dict[str, set[str]] = defaultdict(set)
    function = ""
    for line in output_of("objdump", "-d", "-C", "--no-show-raw-insn").splitlines():
        if header := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            function = header[1]
            continue
        if "%zmm" in line or re.search(r"%k[0-7]\b", line):
            found["512"].add(function)
        if "%ymm" in line:
            found["256"].add(function)
        if re.search(r"\tv[a-z]", line) and not re.search(r"\tver[rw]\b", line):
            found["vex"].add(function)
    return dict(found)


@pytest.mark.parametrize(
    "kind, homes",
    [("512", "avx512"), ("256", "avx2|avx512"), ("vex", "avx2|avx512")],
)
def test_vector_code_stays_in_its_namespace(kind, homes):
    """AVX code outside of avx2:: and avx512:: would end the process on a CPU without it: an inline
    function of the standard library compiled in the wrong region is enough."""
    if "x86" not in output_of("objdump", "-f").replace("i386", "x86"):
        pytest.skip("not an x86 library")
    functions = functions_by_register()[kind]
    assert functions, "the vector kernels are missing"
    home = re.compile(rf"torchconv::cpu::({homes})::")
    assert [name for name in functions if not home.search(name)] == []

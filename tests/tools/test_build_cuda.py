"""How the build decides about CUDA kernels, and what the library of theirs asks of its machine."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import setuptools
import torch

import torchconv
from tests.tools.test_build import output_of, undefined_symbols

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
build_cuda = pytest.importorskip("build_cuda", reason="needs a checkout")

LIBRARIES = sorted(Path(torchconv.__file__).parent.glob("_C_cuda*.so"))
needs_library = pytest.mark.skipif(not LIBRARIES, reason="built without CUDA kernels")

NVCC = """#!/bin/sh
case "$*" in
  *--version*) echo "Cuda compilation tools, release {version}, V{version}.1" ;;
  *--list-gpu-code*) printf 'sm_80\\nsm_90\\nsm_90a\\n' ;;
  *--dryrun*) echo '#$ TOP={top}' ;;
  *) {compile} ;;
esac
"""


H100, A100, T4 = (9, 0), (8, 0), (7, 5)


def fake_torch(*gpus: tuple[int, int], cuda: str | None = "13.0"):
    """A PyTorch that sees GPUs of these compute capabilities."""
    visible = SimpleNamespace(
        is_available=lambda: bool(gpus),
        device_count=lambda: len(gpus),
        get_device_capability=lambda index: gpus[index],
        get_device_name=lambda index: f"GPU {gpus[index]}",
    )
    version = SimpleNamespace(cuda=cuda)
    return SimpleNamespace(__version__="2.14.1+test", version=version, cuda=visible)


@pytest.fixture
def toolkit(tmp_path, monkeypatch):
    """A folder that looks like a CUDA toolkit; the argument describes its nvcc."""
    from torch.utils import cpp_extension

    def make(version="13.0", compile="exit 0", runtime=True):
        nvcc = tmp_path / "bin" / "nvcc"
        nvcc.parent.mkdir()
        nvcc.write_text(NVCC.format(version=version, top=tmp_path, compile=compile))
        nvcc.chmod(0o755)
        (tmp_path / "lib64").mkdir()
        if runtime:
            (tmp_path / "lib64" / "libcudart_static.a").touch()
        return tmp_path

    monkeypatch.setattr(cpp_extension, "CUDA_HOME", str(tmp_path))
    return make


@pytest.fixture(autouse=True)
def no_choice_made(monkeypatch):
    for name in ("TORCH_CUDA_ARCH_LIST", "TORCHCONV_CUDA", "FORCE_CUDA", "TORCHCONV_WERROR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "gpus, architectures",
    [([H100], ["9.0a"]), ([A100], ["8.0"]), ([H100, A100, H100], ["8.0", "9.0a"])],
)
def test_kernels_are_built_for_the_gpus_that_are_visible(toolkit, gpus, architectures):
    folder = toolkit()
    found = build_cuda.decide(fake_torch(*gpus))
    assert (found.version, found.library) == ("13.0", str(folder / "lib64"))
    assert found.architectures() == architectures


def test_without_a_gpu_nothing_is_built_for_one(toolkit, monkeypatch, capsys):
    """A toolkit alone would double the time that an installation takes."""
    toolkit()
    assert build_cuda.decide(fake_torch()) is None
    assert capsys.readouterr().out == (
        "torchconv: no CUDA kernels: no GPU is visible; FORCE_CUDA=1 builds them all the same\n"
    )
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "9.0a")  # may be meant for other packages
    assert build_cuda.decide(fake_torch()) is None


@pytest.mark.parametrize("gpu, reason", [(T4, "compute capability 7.5"), ((12, 0), "sm_120")])
def test_a_gpu_that_nothing_can_be_built_for_is_told(toolkit, capsys, gpu, reason):
    """One that is too old for the kernels, and one that this nvcc does not know."""
    toolkit()
    assert build_cuda.decide(fake_torch(gpu)) is None
    assert reason in capsys.readouterr().out
    assert build_cuda.decide(fake_torch(gpu, A100)).architectures() == ["8.0"]


@pytest.mark.parametrize(
    "variable, value", [("FORCE_CUDA", "1"), ("TORCHCONV_CUDA", "1"), ("TORCHCONV_CUDA", "toolkit")]
)
@pytest.mark.parametrize("gpus", [[], [A100]])
def test_on_demand_all_architectures_are_built(toolkit, monkeypatch, variable, value, gpus):
    toolkit()
    monkeypatch.setenv(variable, value)
    found = build_cuda.decide(fake_torch(*gpus))
    assert found.architectures() == ["8.0", "9.0a"]  # of the default list what this nvcc knows


@pytest.mark.parametrize("gpus, force", [([], "1"), ([A100], "0")])
def test_the_architectures_can_be_chosen(toolkit, monkeypatch, gpus, force):
    toolkit()
    monkeypatch.setenv("FORCE_CUDA", force)
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "9.0a 12.0+PTX")
    assert build_cuda.decide(fake_torch(*gpus)).architectures() == ["9.0a", "12.0+PTX"]


def test_our_own_variable_counts_for_more_than_everyones(toolkit, monkeypatch, capsys):
    toolkit()
    monkeypatch.setenv("FORCE_CUDA", "1")
    monkeypatch.setenv("TORCHCONV_CUDA", "0")
    assert build_cuda.decide(fake_torch(A100)) is None
    assert "TORCHCONV_CUDA=0" in capsys.readouterr().out


PROBLEMS = {
    "no toolkit": (None, r"there is no \S*/bin/nvcc"),
    "another major version": (dict(version="12.4"), r"of CUDA 12\.4 .* of CUDA 13\.0"),
    "nvcc does not compile": (
        dict(compile="echo 'error: unsupported GNU version' >&2; exit 1"),
        "unsupported GNU version",
    ),
    "no static runtime": (dict(runtime=False), r"libcudart_static\.a"),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_what_does_not_fit_is_a_notice_or_an_error(toolkit, monkeypatch, capsys, problem):
    """Automatically the CPU half is built and one line says why; on demand the build ends."""
    options, reason = PROBLEMS[problem]
    if options is not None:
        toolkit(**options)
    for value, gpus in (("auto", [A100]), ("toolkit", [])):
        monkeypatch.setenv("TORCHCONV_CUDA", value)
        assert build_cuda.decide(fake_torch(*gpus)) is None
        printed = capsys.readouterr().out
        assert re.search(reason, printed) and printed.count("\n") == 1
    for variable in ("TORCHCONV_CUDA", "FORCE_CUDA"):
        monkeypatch.delenv("TORCHCONV_CUDA", raising=False)
        monkeypatch.setenv(variable, "1")
        with pytest.raises(SystemExit, match=reason) as caught:
            build_cuda.decide(fake_torch())
        assert str(caught.value).startswith(f"torchconv: {variable}=1, but ")


def test_a_torch_without_cuda_needs_no_toolkit(toolkit, monkeypatch, capsys):
    toolkit()
    assert build_cuda.decide(fake_torch(cuda=None)) is None
    assert "not a CUDA build" in capsys.readouterr().out
    monkeypatch.setenv("TORCHCONV_CUDA", "1")
    with pytest.raises(SystemExit, match="not a CUDA build"):
        build_cuda.decide(fake_torch(cuda=None))


def test_zero_asks_nothing(monkeypatch):
    monkeypatch.setenv("TORCHCONV_CUDA", "0")
    assert build_cuda.decide(None) is None


def test_other_values_are_refused(monkeypatch):
    monkeypatch.setenv("TORCHCONV_CUDA", "yes")
    with pytest.raises(SystemExit, match="must be auto, 1, toolkit or 0, got 'yes'"):
        build_cuda.decide(torch)


def extensions(monkeypatch, **environment) -> dict:
    """The extensions setup.py would build, by name."""
    found = {}
    monkeypatch.setattr(setuptools, "setup", lambda **options: found.update(options, called=True))
    monkeypatch.setattr(sys, "argv", ["setup.py", "build_ext"])
    monkeypatch.chdir(ROOT)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    runpy.run_path(str(ROOT / "setup.py"))
    return {extension.name: extension for extension in found["ext_modules"]}


def test_a_build_for_the_cpu_knows_nothing_of_cuda(monkeypatch):
    found = extensions(monkeypatch, TORCHCONV_CUDA="0")
    assert list(found) == ["torchconv._C"]
    cpu = found["torchconv._C"]
    assert not [name for name in (*cpu.sources, *cpu.depends) if "cuda" in name]
    assert not [name for name in cpu.libraries if "cuda" in name]


def test_both_libraries_where_there_is_a_toolkit(toolkit, monkeypatch):
    toolkit()
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    found = extensions(monkeypatch, TORCHCONV_CUDA="1")
    assert list(found) == ["torchconv._C", "torchconv._C_cuda"]
    cuda = found["torchconv._C_cuda"]
    assert "cudart_static" in cuda.libraries and "cudart" not in cuda.libraries
    flags = cuda.extra_compile_args["nvcc"]
    assert "-gencode=arch=compute_90a,code=sm_90a" in flags
    assert not [flag for flag in flags if "120" in flag]  # which that nvcc does not know


@pytest.mark.parametrize("value", ["", "0", "1"])
def test_warnings_are_errors_on_demand(toolkit, monkeypatch, value):
    """A user's compiler may warn of what ours do not, and must build all the same."""
    toolkit()
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    found = extensions(monkeypatch, TORCHCONV_CUDA="1", TORCHCONV_WERROR=value)
    flags = found["torchconv._C_cuda"].extra_compile_args
    assert ("-Werror" in flags["nvcc"]) is (value == "1")
    if value == "1":
        assert flags["nvcc"][flags["nvcc"].index("-Werror") + 1] == "all-warnings"
    assert "-Werror" not in flags["cxx"]  # which compiles PyTorch's headers, too


def test_setup_says_what_is_missing():
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "TORCHCONV_CUDA": "1", "CUDA_HOME": "/no/such/folder"},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("torchconv: TORCHCONV_CUDA=1, but ") and "Traceback" not in done.stderr


@needs_library
def test_one_cuda_library_for_every_python():
    assert [path.name for path in LIBRARIES] == ["_C_cuda.abi3.so"]


@needs_library
def test_the_cuda_library_uses_stable_abis_only():
    symbols = undefined_symbols(LIBRARIES[0])
    assert "aoti_torch_get_current_cuda_stream" in symbols
    unstable = re.compile(r"\b(at|c10|torch|caffe2)::")
    assert [symbol for symbol in symbols if unstable.search(symbol)] == []
    assert {symbol for symbol in symbols if re.match(r"_?Py", symbol)} <= {"PyModule_Create2"}


@needs_library
def test_the_cuda_library_brings_its_own_runtime():
    """So that one file runs beside any libcudart of that major version, or none."""
    needed = re.findall(r"NEEDED.*\[(.*)\]", output_of("readelf", "-d", library=LIBRARIES[0]))
    assert "libtorch_cuda.so" in needed
    assert [name for name in needed if re.search(r"cudart|libcuda\.|python", name)] == []
    assert not [name for name in undefined_symbols(LIBRARIES[0]) if re.match(r"cuda[A-Z]", name)]


@needs_library
def test_the_cuda_library_exports_its_module_only():
    lines = output_of("nm", "-D", "-C", "--defined-only", library=LIBRARIES[0]).splitlines()
    names = [line.split(maxsplit=2)[2] for line in lines]
    assert "PyInit__C_cuda" in names
    assert [name for name in names if re.search(r"torchconv|^cuda[A-Z]", name)] == []

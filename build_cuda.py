"""The CUDA half of the build: whether there is a GPU to build for, whether a toolkit fits this
PyTorch, and torchconv._C_cuda.

Kernels (the .cu files below csrc/cuda) are compiled by nvcc and include nothing of PyTorch; the C++
compiler compiles the .cpp files. The CUDA runtime is linked statically, so that the library runs
beside whichever one PyTorch brings. As in other extensions of PyTorch, kernels are built for the
GPUs that are visible, and with FORCE_CUDA=1 without one.
"""

import glob
import hashlib
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "TORCHCONV_CUDA"
FORCE = "FORCE_CUDA"
ARCHITECTURE_LIST = "TORCH_CUDA_ARCH_LIST"
STRICT = "TORCHCONV_WERROR"
ARCHITECTURES = ("8.0", "8.6", "8.9", "9.0a", "10.0", "12.0+PTX")
OLDEST = (8, 0)
KERNELS = "csrc/cuda"
# No part of a kernel: what stands in for the GPU in tests, and the list of the algorithms.
NO_KERNELS = ("device_host.h", "algorithms.h")
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


class Unfit(Exception):
    """Why no CUDA kernels can be built: the end of a sentence."""


@dataclass(frozen=True)
class Toolkit:
    nvcc: str
    version: str
    include: str
    library: str  # the folder of libcudart_static.a
    codes: frozenset[str]  # what nvcc can generate, such as sm_90
    candidates: tuple[str, ...] = ARCHITECTURES

    def architectures(self) -> list[str]:
        """Of the candidates those that this nvcc knows; TORCH_CUDA_ARCH_LIST takes their place."""
        if chosen := os.environ.get(ARCHITECTURE_LIST):
            return chosen.replace(" ", ";").split(";")
        return [name for name in self.candidates if f"sm_{_number(name).rstrip('a')}" in self.codes]


def _number(architecture: str) -> str:
    return architecture.removesuffix("+PTX").replace(".", "")


def wanted() -> tuple[str, str]:
    """What is to be built (auto, 1, toolkit or 0), and the variable that says so."""
    value = os.environ.get(VARIABLE, "")
    if value not in ("", "auto", "1", "toolkit", "0"):
        raise SystemExit(f"torchconv: {VARIABLE} must be auto, 1, toolkit or 0, got {value!r}")
    if not value and os.environ.get(FORCE) == "1":
        return "1", FORCE
    return value or "auto", VARIABLE


def decide(torch) -> Toolkit | None:
    """The toolkit to build with, or None for a CPU-only build; exits where a variable forbids it.

    The reason for a CPU-only build is printed in one line.
    """
    value, variable = wanted()
    if value == "0":
        print(f"torchconv: no CUDA kernels: {VARIABLE}=0")
        return None
    try:
        if not torch.version.cuda:
            raise Unfit(f"this PyTorch ({torch.__version__}) is not a CUDA build")
        return find(torch, visible(torch) if value == "auto" else ARCHITECTURES)
    except Unfit as reason:
        if value == "1":
            raise SystemExit(f"torchconv: {variable}=1, but {reason}") from None
        print(f"torchconv: no CUDA kernels: {reason}")
        return None


def visible(torch) -> tuple[str, ...]:
    """The architectures of the GPUs of this machine. Raises Unfit."""
    if not torch.cuda.is_available():
        raise Unfit(f"no GPU is visible; {FORCE}=1 builds them all the same")
    found = {torch.cuda.get_device_capability(index) for index in range(torch.cuda.device_count())}
    fit = sorted(capability for capability in found if capability >= OLDEST)
    if not fit:
        raise Unfit(
            f"{torch.cuda.get_device_name(0)} has compute capability "
            f"{'.'.join(map(str, max(found)))} and they need {'.'.join(map(str, OLDEST))}"
        )
    names = (".".join(map(str, capability)) for capability in fit)
    return tuple("9.0a" if name == "9.0" else name for name in names)  # with its own instructions


def find(torch, architectures: tuple[str, ...]) -> Toolkit:
    """The toolkit at CUDA_HOME, or where PyTorch looks for one. Raises Unfit."""
    from torch.utils.cpp_extension import CUDA_HOME

    if not CUDA_HOME:
        raise Unfit("there is no CUDA toolkit; install one or set CUDA_HOME")
    nvcc = os.path.join(CUDA_HOME, "bin", "nvcc")
    if not os.access(nvcc, os.X_OK):
        raise Unfit(f"there is no {nvcc}; set CUDA_HOME to the folder of the CUDA toolkit")
    release = re.search(r"release (\d+)\.(\d+)", _output(nvcc, "--version"))
    if release is None:
        raise Unfit(f"{nvcc} --version does not tell a version")
    if release[1] != torch.version.cuda.split(".")[0]:
        raise Unfit(
            f"{nvcc} is of CUDA {release[1]}.{release[2]} and this PyTorch ({torch.__version__}) "
            f"of CUDA {torch.version.cuda}: the major versions must be the same"
        )
    root = _try_to_compile(nvcc)
    library = next(
        (str(path) for path in _library_folders(root) if (path / "libcudart_static.a").exists()), ""
    )
    if not library:
        raise Unfit(f"there is no libcudart_static.a in the CUDA toolkit at {root}")
    codes = frozenset(_output(nvcc, "--list-gpu-code").split())
    version, include = f"{release[1]}.{release[2]}", str(root / "include")
    toolkit = Toolkit(nvcc, version, include, library, codes, architectures)
    if not toolkit.architectures():
        raise Unfit(f"{nvcc} does not know sm_{', sm_'.join(map(_number, architectures))}")
    return toolkit


def _output(*command: str) -> str:
    """What a command prints on either stream. Raises Unfit where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unfit(f"{command[0]} does not run ({error})") from None
    text = done.stdout + done.stderr
    if done.returncode:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        told = next(
            (line for line in lines if "error" in line.lower()), (lines or ["no message"])[0]
        )
        raise Unfit(f"{' '.join(command[:2])} fails: {told}")
    return text


def _try_to_compile(nvcc: str) -> Path:
    """Compiles an empty kernel, so that a broken toolkit or a C++ compiler that nvcc refuses is
    found before the build; returns the toolkit's own folder, which a wrapper does not tell."""
    with tempfile.TemporaryDirectory() as folder:
        probe = os.path.join(folder, "probe.cu")
        Path(probe).write_text("#include <cuda_runtime.h>\n__global__ void probe() {}\n")
        compiler = ["-ccbin", os.environ["CC"]] if os.environ.get("CC") else []
        command = [
            nvcc,
            probe,
            "-std=c++17",
            *compiler,
            "-c",
            "-o",
            os.path.join(folder, "probe.o"),
        ]
        _output(*command)
        top = re.search(r"^#\$ TOP=(.*)$", _output(*command, "--dryrun"), re.MULTILINE)
    return Path(top[1] if top else Path(nvcc).parent.parent).resolve()


def _library_folders(root: Path) -> list[Path]:
    return [root / "lib64", root / "lib", *sorted(root.glob("targets/*/lib"))]


def source_hashes(folder: str = KERNELS) -> dict[str, str]:
    """For every .cu file, by its stem, a digest of the text that makes its kernels.

    That text is the .cu file and every header of ours that it reaches. Comments, white space and
    the lines that include files do not count, and neither do the names of the files and their
    order: a kernel becomes another when a token changes, and stays the same when its files move.
    The list of the algorithms is left out: no kernel depends on it.
    """
    root, files = Path(folder).parent, sorted(Path(folder).rglob("*.cu"))
    return {path.stem: _digest(_reached(path, root)) for path in files}


def _reached(source: Path, root: Path) -> list[str]:
    """The texts of a file and of the headers it includes."""
    found, waiting = {}, [source]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found[path] = path.read_text()
        for name in INCLUDE.findall(found[path]):
            if Path(name).name in NO_KERNELS:
                continue
            waiting += [near for near in (path.parent / name, root / name) if near.exists()][:1]
    return list(found.values())


def _digest(texts: list[str]) -> str:
    """In the order of their own digests, which no name decides."""
    tokens = ("\n".join(_tokens(text)).encode() for text in texts)
    parts = sorted(hashlib.sha256(text).digest() for text in tokens)
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def _tokens(text: str) -> list[str]:
    """As a compiler would cut the text, includes and comments apart."""
    kept = re.sub(r"^\s*#\s*include\b.*$", "", text, flags=re.MULTILINE)
    string, comment = r'"(?:\\.|[^"\\\n])*"', r"//[^\n]*|/\*[\s\S]*?\*/"
    operator = r"->\*?|::|\.\.\.|\+\+|--|&&|\|\||[<>]{2}=?|[-+*/%&|^<>=!]=|##"
    found = re.finditer(rf"{string}|({comment})|\w+|{operator}|\S", kept)
    return [match[0] for match in found if not match[1]]


def extension(toolkit: Toolkit, cxx_flags: list[str], macros: list[tuple[str, str]], debug: bool):
    """torchconv._C_cuda."""
    from torch.utils.cpp_extension import CppExtension

    nvcc_flags = ["-std=c++17", "-O3"]
    nvcc_flags += ["-Xcompiler", "-Wall,-Wextra,-fvisibility=hidden"]
    if os.environ.get(STRICT) == "1":  # not for users, whose compilers warn of other things
        nvcc_flags += ["-Werror", "all-warnings"]  # nvcc's own and those of its host compiler
    nvcc_flags += ["-lineinfo"] if debug else ["-DNDEBUG"]
    if int(toolkit.version.split(".")[0]) >= 13:  # whose drivers can all unpack it
        nvcc_flags += ["--compress-mode=size"]
    if not os.environ.get(ARCHITECTURE_LIST):  # which PyTorch reads itself
        nvcc_flags += _gencode(toolkit.architectures())
    hashes = ",".join(f"{name}:{digest}" for name, digest in source_hashes().items())
    sources = _files(".cu", ".cpp")
    names = " ".join(toolkit.architectures())
    print(f"torchconv: CUDA {toolkit.version} for {names}: {len(sources)} sources")
    return CppExtension(
        "torchconv._C_cuda",
        sources,
        include_dirs=[os.path.abspath("csrc"), toolkit.include],
        define_macros=list(macros),
        library_dirs=[toolkit.library],
        libraries=["torch_cuda", "cudart_static", "rt", "dl", "pthread"],
        extra_compile_args={
            "cxx": [*cxx_flags, "-DUSE_CUDA", f'-DTORCHCONV_SOURCE_HASHES="{hashes}"'],
            "nvcc": nvcc_flags,
        },
        extra_link_args=["-Wl,--exclude-libs,ALL"],
        depends=[
            *sorted(glob.glob("csrc/*.h")),
            *_files(".h", ".cuh"),
            "setup.py",
            "build_cuda.py",
        ],
        py_limited_api=True,
    )


def _files(*suffixes: str) -> list[str]:
    """The files of the CUDA half with these suffixes, of all its folders."""
    return sorted(str(path) for path in Path(KERNELS).rglob("*") if path.suffix in suffixes)


def _gencode(architectures: list[str]) -> list[str]:
    flags = []
    for name in architectures:
        number = _number(name)
        flags.append(f"-gencode=arch=compute_{number},code=sm_{number}")
        if name.endswith("+PTX"):
            flags.append(f"-gencode=arch=compute_{number},code=compute_{number}")
    return flags

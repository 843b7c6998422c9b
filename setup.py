"""Builds torchconv._C, the CPU kernels, and beside it torchconv._C_cuda where a GPU is visible.

Both on the LibTorch stable ABI, for every Python >= 3.10.

Environment:
    FORCE_CUDA=1   CUDA kernels also where no GPU is visible, or an error that says what is missing
    TORCHCONV_CUDA   auto (default): CUDA kernels where a GPU is visible and a CUDA toolkit fits,
                     for that GPU; 1: as FORCE_CUDA=1; toolkit: wherever a toolkit fits; 0: none
    TORCH_CUDA_ARCH_LIST   GPU architectures, such as "9.0a" (default: the visible GPU's, or 8.0 to
                           12.0 where the build does not ask for a GPU)
    TORCHCONV_WERROR=1   warnings about the CUDA kernels are errors
    DEBUG=1    compile with -O0 -g and without NDEBUG
    MAX_JOBS   compile jobs in parallel (default: the number of cores)
"""

import glob
import importlib.util
import os
import shutil
import sys

from setuptools import setup

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import build_cuda  # noqa: E402  (beside this file, which is not where a build backend looks)

TORCH_FLOOR = (2, 11)
TORCH_TARGET_VERSION = "0x020b000000000000"


def require(condition, sentence):
    """Stops the build with one clear sentence."""
    if not condition:
        sys.exit(f"torchconv: {sentence}")


def import_torch():
    try:
        import torch
    except ImportError as error:
        sys.exit(f"torchconv: building needs PyTorch >= 2.11 in this environment ({error}).")
    found = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    require(
        found >= TORCH_FLOOR,
        f"building needs PyTorch >= 2.11, this environment has {torch.__version__}; "
        "run: pip install --upgrade torch",
    )
    return torch


def find_ninja():
    """Lets PyTorch find the ninja of an environment that is not activated.

    Without it, files are compiled one after the other.
    """
    if shutil.which("ninja") is None and importlib.util.find_spec("ninja"):
        from ninja import BIN_DIR

        os.environ["PATH"] += os.pathsep + BIN_DIR


def cxx_flags(debug):
    flags = ["-std=c++17", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra"]
    flags += ["-Wno-unknown-pragmas", "-Wno-psabi"]
    return flags + (["-O0", "-g", "-UNDEBUG"] if debug else ["-O3", "-g0"])


def extensions(toolkit):
    from torch.utils.cpp_extension import CppExtension

    debug = os.environ.get("DEBUG") == "1"
    flags = cxx_flags(debug)
    macros = [("TORCH_TARGET_VERSION", TORCH_TARGET_VERSION)]
    sources = sorted(glob.glob("csrc/*.cpp") + glob.glob("csrc/cpu/**/*.cpp", recursive=True))
    headers = [
        path for end in ("h", "inc") for path in glob.glob(f"csrc/cpu/**/*.{end}", recursive=True)
    ]
    print(f"torchconv: {len(sources)} sources, flags {' '.join(flags)}")
    cpu = CppExtension(
        "torchconv._C",
        sources,
        include_dirs=[os.path.abspath("csrc")],
        define_macros=list(macros),
        extra_compile_args=list(flags),
        extra_link_args=["-Wl,--exclude-libs,ALL"],
        depends=[*glob.glob("csrc/*.h"), *headers, "setup.py"],
        py_limited_api=True,
    )
    cuda = [build_cuda.extension(toolkit, flags, macros, debug)] if toolkit else []
    return [cpu, *cuda]


def incremental_build_ext():
    """PyTorch's build_ext, which keeps its object files in build/ also where pip runs it.

    An editable install would compile everything in a temporary folder, each time.
    """
    from torch.utils.cpp_extension import BuildExtension

    class Incremental(BuildExtension):
        def finalize_options(self):
            super().finalize_options()
            name = f"temp.{self.plat_name}-{sys.implementation.cache_tag}"
            self.build_temp = os.path.join("build", name)

    return Incremental


def main():
    metadata_only = {"egg_info", "dist_info", "sdist", "--version", "clean"} & set(sys.argv)
    if metadata_only:
        setup()
        return
    torch = import_torch()
    compiler = os.environ.get("CXX", "c++").split()[0]
    require(
        shutil.which(compiler),
        f"building needs a C++17 compiler and {compiler!r} is not on the PATH; "
        "install one (Debian: apt-get install g++) or set CXX.",
    )
    find_ninja()
    print(f"torchconv: building for torch {torch.__version__} (runs on torch >= 2.11)")
    setup(
        ext_modules=extensions(build_cuda.decide(torch)),
        cmdclass={"build_ext": incremental_build_ext()},
        options={"bdist_wheel": {"py_limited_api": "cp310"}},
    )


main()
